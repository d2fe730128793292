"""The ladder of a monitor on one server: healthy, suspect, faulty, scripts, restarts, failovers,
final action, parked. One probe in, a new status and at most one step out.

Called by the monitor loop after each probe. Counters live in the status; every step is counted in
it before it is taken, so that no crash makes a monitor do more than its spec allows.
"""

from collections.abc import Mapping
from enum import StrEnum

from reconciler.decide.leases import may_activate
from reconciler.decide.machine_actions import MachineAction, machine_obstacle
from reconciler.decide.placement import Placing, candidates, choose, recent_failures
from reconciler.decide.records import MonitorState, MonitorStatus, Phase
from reconciler.decide.snapshot import Snapshot
from reconciler.decide.wish_steps import open_operations
from specs.monitor import MonitorSpec

NO_DESTINATION = "no other server can run the group"
FINAL_AGAIN_S = 3600.0
RESTARTS_USED_UP = "the group's restarts are used up"


class Step(StrEnum):
    """One rung. FINAL ends in parked, whatever the final action is."""

    SCRIPT = "script"
    RESTART = "restart"
    FAILOVER = "failover"
    FINAL = "final-action"


def judge(
    status: MonitorStatus,
    spec: MonitorSpec,
    healthy: bool | None,
    obstacles: Mapping[Step, str],
    wall: float,
) -> tuple[MonitorStatus, Step | None]:
    """The status after this probe, and the step to take now.

    `healthy` None (it could not be probed) counts as neither. `obstacles` are reasons for which a
    step cannot be taken now: it is not counted and tried again at the next failing probe.
    """
    if healthy is None:
        new, step = _unknown(status), None
    elif healthy:
        new, step = _healthy(status, spec), None
    else:
        new, step = _failed(status, spec, obstacles)
    if step is not None:
        new = new.model_copy(update={"last_step": step.value, "last_step_wall": wall})
    if step is Step.FINAL:
        new = new.model_copy(update={"final_wall": wall})
    if new.state is not status.state:
        new = new.model_copy(update={"since_wall": wall})
    return new, step


def _unknown(status: MonitorStatus) -> MonitorStatus:
    """What was healthy is not known to be so any more; what was not is not better either."""
    if status.state in (MonitorState.HEALTHY, MonitorState.OFFLINE):
        return status.model_copy(update={"state": MonitorState.UNKNOWN})
    return status


def _healthy(status: MonitorStatus, spec: MonitorSpec) -> MonitorStatus:
    healthy = min(status.healthy + 1, spec.reset_after)
    update: dict[str, object] = {
        "state": MonitorState.HEALTHY,
        "failures": 0,
        "healthy": healthy,
        "waiting": "",
    }
    if healthy >= spec.reset_after:
        update |= {"scripts": 0, "restarts": 0, "failovers": 0, "parked": False}
    return status.model_copy(update=update)


def _failed(
    status: MonitorStatus, spec: MonitorSpec, obstacles: Mapping[Step, str]
) -> tuple[MonitorStatus, Step | None]:
    failures = min(status.failures + 1, spec.retry + 1)
    new = status.model_copy(update={"failures": failures, "healthy": 0, "waiting": ""})
    if failures <= spec.retry:
        climbing = status.state in (MonitorState.FAULTY, MonitorState.PARKED)
        state = status.state if climbing else MonitorState.SUSPECT
        return new.model_copy(update={"state": state}), None
    if status.parked:
        return new.model_copy(update={"state": MonitorState.PARKED}), None
    return _climb(new.model_copy(update={"state": MonitorState.FAULTY}), spec, obstacles)


def _climb(
    status: MonitorStatus, spec: MonitorSpec, obstacles: Mapping[Step, str]
) -> tuple[MonitorStatus, Step | None]:
    step = next_step(status, spec, skip_restarts=obstacles.get(Step.RESTART) == RESTARTS_USED_UP)
    obstacle = obstacles.get(step, "")
    stops = spec.recovery.final_action != "none"
    if step is Step.FAILOVER and obstacle and stops and Step.FINAL not in obstacles:
        # Nobody can take the group, and it shall not run as it is.
        step, obstacle = Step.FINAL, ""
    if obstacle:
        return status.model_copy(update={"waiting": obstacle}), None
    if step is Step.SCRIPT:
        return status.model_copy(update={"scripts": status.scripts + 1, "failures": 0}), step
    if step is Step.RESTART:
        return status.model_copy(update={"restarts": status.restarts + 1, "failures": 0}), step
    if step is Step.FAILOVER:
        return status.model_copy(update={"failovers": status.failovers + 1, "failures": 0}), step
    return status.model_copy(update={"parked": True, "state": MonitorState.PARKED}), step


def next_step(status: MonitorStatus, spec: MonitorSpec, *, skip_restarts: bool = False) -> Step:
    """The lowest rung that is not used up; target `server` has the script and the final action."""
    if spec.recovery.script is not None and status.scripts < spec.recovery.scripts:
        return Step.SCRIPT
    if spec.target != "server":
        if status.restarts < spec.recovery.restarts and not skip_restarts:
            return Step.RESTART
        if status.failovers < spec.recovery.failovers:
            return Step.FAILOVER
    return Step.FINAL


def groups_of(snapshot: Snapshot, spec: MonitorSpec) -> tuple[str, ...]:
    """Groups that a recovery of this monitor concerns on this server: those that it owns."""
    kind, slash, name = spec.target.partition("/")
    mine = [g for g, s in sorted(snapshot.ownerships.items()) if s.record.owner == snapshot.me]
    if not slash:
        return tuple(mine)
    if kind == "resource":
        resource = snapshot.specs.resources.get(name)
        name = resource.spec.group if resource else ""
    return (name,) if name in mine else ()


def obstacles_to(
    snapshot: Snapshot,
    spec: MonitorSpec,
    *,
    restarts_left: bool = True,
    final_wall: float | None = None,
) -> dict[Step, str]:
    """Why each step cannot be taken now; a step that can be taken is left out. `restarts_left`:
    the group's own `restarts` allow one more on this server; `final_wall`: when this monitor's
    final action was last taken here."""
    groups = groups_of(snapshot, spec)
    if not groups and spec.target != "server":
        return dict.fromkeys(Step, "the target does not run on this server")
    found: dict[Step, str] = {}
    for group in groups:
        if reason := _busy(snapshot, group):
            found = dict.fromkeys(Step, reason)
            break
        found |= {Step.FAILOVER: reason} if (reason := _stays(snapshot, group)) else {}
    if not restarts_left:
        found.setdefault(Step.RESTART, RESTARTS_USED_UP)
    if spec.recovery.final_action == "none":
        found.pop(Step.FINAL, None)
    elif spec.recovery.final_action in set(MachineAction) and (
        reason := _stays_on(snapshot, final_wall)
    ):
        found.setdefault(Step.FINAL, reason)
    return found


def _busy(snapshot: Snapshot, group: str) -> str:
    """The group's operation lock, and the right to start again what a step stops."""
    targets = {f"group/{group}", f"server/{snapshot.me}"}
    targets |= {f"resource/{name}" for name in snapshot.specs.resources_of(group)}
    for stored in open_operations(snapshot):
        if stored.record.target in targets:
            who = stored.record.who or "an operator"
            return f"{stored.record.kind.value} {stored.record.target} by {who} is under way"
    local = snapshot.local_groups.get(group)
    if local is None or local.phase is not Phase.ONLINE:
        return f"group {group} is not online"
    refused = may_activate(snapshot, group, local.epoch)
    return f"group {group}: {refused}" if refused else ""


def _stays_on(snapshot: Snapshot, final_wall: float | None) -> str:
    """Why this server must not act on itself for a monitor's sake."""
    if final_wall is not None and snapshot.wall - final_wall < FINAL_AGAIN_S:
        return "this monitor took its final action here less than an hour ago"
    return machine_obstacle(snapshot)


def _stays(snapshot: Snapshot, group: str) -> str:
    """Why a failover would only take the group away. A monitor does not do that: what runs badly
    is better than what does not run, unless the final action says otherwise."""
    spec = snapshot.specs.groups[group].spec if group in snapshot.specs.groups else None
    if spec is None:
        return f"group {group} has no spec"
    if spec.failover.mode == "manual":
        return f"failover of group {group} is manual"
    verdict = snapshot.verdicts.get(group)
    failures = verdict.record.failures if verdict else ()
    recent = recent_failures(failures, spec.failover.window, snapshot.wall)
    if len(recent) + 1 >= spec.failover.max_failures:
        return f"one more failure would park group {group} (failover.maxFailures)"
    me = snapshot.me
    placing = Placing(failures=failures, leaving=me, previous=me, failover=True, spotless=True)
    found = candidates(snapshot, group, placing)
    return "" if choose(found) else NO_DESTINATION
