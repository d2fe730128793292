"""The steps of a monitor's recovery that take time: its script, and a restart that is under way.

Called by `loops.monitor`. Both end early when the group leaves this server, or when an operator's
wish says that it does not wait (`preempt`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from reconciler.decide.circumstances import with_older_names
from reconciler.decide.records import MonitorStatus, Phase
from reconciler.decide.recovery import groups_of
from reconciler.decide.recovery_lock import preempted_by
from reconciler.loops.group_runner import GroupRunner
from reconciler.loops.state import AgentState
from reconciler.ports.host import HostError
from reconciler.ports.probes import ProbeUnavailable, Sample
from specs.monitor import MonitorSpec
from specs.script import Script

LOOK_EVERY_S = 0.2
RESTART_LIMIT_S = 900.0
"""A restart that takes longer keeps nobody waiting any more."""

RunScript = Callable[[str, Script, Mapping[str, str], float, str], Awaitable[Sample]]
"""(name of its log, script, variables, time-out, directory): runs it in a tree of its own, away
from the agent. It ends with its time-out, and when the call is cancelled. Raises
`ProbeUnavailable` or `HostError`."""


async def no_scripts(name: str, *_: object) -> Sample:
    """For a world without processes."""
    return Sample(None, f"the script of {name} cannot be run here")


async def run_script(
    state: AgentState, run: RunScript, status: MonitorStatus, spec: MonitorSpec
) -> Sample:
    """The script of this step; always an answer."""
    recovery = spec.recovery
    if recovery.script is None:
        return Sample(None, "it has no script")
    variables = recovery_variables(state, status, status.recovering_groups)
    running = asyncio.ensure_future(
        run(status.monitor, recovery.script, variables, recovery.script_timeout, "/")
    )
    try:
        while not running.done():
            timer = asyncio.ensure_future(state.clock.sleep(LOOK_EVERY_S))
            await asyncio.wait({running, timer}, return_when=asyncio.FIRST_COMPLETED)
            timer.cancel()
            if not running.done() and (why := must_end(state, status, spec)):
                return Sample(False, why)
        return running.result()
    except (ProbeUnavailable, HostError) as error:
        return Sample(None, str(error))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def must_end(state: AgentState, status: MonitorStatus, spec: MonitorSpec) -> str:
    """Why a step under way must end now; "" while it may go on."""
    snapshot = state.snapshot()
    if snapshot is None:
        return ""
    groups = status.recovering_groups
    if who := preempted_by(snapshot, groups):
        return f"it made room for {who}"
    if not set(groups) <= set(groups_of(snapshot, spec)):
        return "the group left this server"
    return ""


async def until_restarted(
    state: AgentState,
    runners: Callable[[], Mapping[str, GroupRunner]],
    status: MonitorStatus,
    spec: MonitorSpec,
) -> None:
    """Until what was to be restarted is up again, or will not be."""
    end = state.clock.now() + RESTART_LIMIT_S
    while state.clock.now() < end and not must_end(state, status, spec):
        here = [runners()[group] for group in status.recovering_groups if group in runners()]
        if all(r.is_settled or r.failure or r.stuck or r.phase is Phase.OFFLINE for r in here):
            return
        await state.clock.sleep(LOOK_EVERY_S)


def recovery_variables(
    state: AgentState, status: MonitorStatus, groups: tuple[str, ...]
) -> dict[str, str]:
    """Environment of a recovery's script."""
    cluster = state.specs.cluster.metadata.name if state.specs else ""
    resource = status.target.removeprefix("resource/")
    counts = {
        "RECOVERYCOUNT": str(status.scripts),
        "RESTARTCOUNT": str(status.restarts),
        "FAILOVERCOUNT": str(status.failovers),
    }
    own = {
        "NAME": cluster,
        "ACTION": "recovery",
        "MONITOR": status.monitor,
        "TARGET": status.target,
        "SERVER": state.me,
        "GROUP": groups[0] if groups else "",
        "RESOURCE": resource if resource != status.target else "",
        "REASON": status.reason,
        "RECOVERIES": str(status.scripts),
        "RESTARTS": str(status.restarts),
        "FAILOVERS": str(status.failovers),
    }
    older = {
        "ACTION": "RECOVERY",
        "MONITORNAME": status.monitor,
        "GROUPNAME": own["GROUP"],
        "RESOURCENAME": own["RESOURCE"],
        "CLUSTERNAME": cluster,
        **counts,
    }
    return with_older_names(own, older)
