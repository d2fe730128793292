"""One monitor on this server: when it is due, what its probe says, and the step that follows."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping

from reconciler.decide.group_case import MONITOR_PREFIX
from reconciler.decide.machine_actions import MachineAction
from reconciler.decide.records import (
    MonitorState,
    MonitorStatus,
    Operation,
    OperationKind,
    Phase,
)
from reconciler.decide.recovery import Step, groups_of, judge, obstacles_to
from reconciler.decide.snapshot import Snapshot, Specs
from reconciler.decide.ulid import RANDOM_BYTES, ulid
from reconciler.loops.group_runner import GroupRunner
from reconciler.loops.recovery_script import RunScript, no_scripts, run_script, until_restarted
from reconciler.loops.state import AgentState
from reconciler.ports.host import HostError
from reconciler.ports.probes import ProbeUnavailable, Sample
from reconciler.ports.store import Put, StoreError, Transaction, Unchanged
from specs.monitor import Monitor

LOOK_EVERY_S = 1.0
GRACE_S = 15.0
"""Beyond a probe's own time: it is bounded where it runs, this is the second line."""

STORE_WAIT_S = 5.0
RETELL_S = 60.0
"""A status that differs only in its times is stored this often."""


class MonitorRun:
    """`earlier` is what was known of the monitor here; its counters go on with the same spec."""

    def __init__(
        self,
        monitor: Monitor,
        state: AgentState,
        runners: Callable[[], Mapping[str, GroupRunner]],
        take_sample: Callable[[Monitor, Specs], Awaitable[Sample]],
        is_stored: Callable[[MonitorStatus], bool],
        earlier: MonitorStatus | None,
        run_script: RunScript = no_scripts,
    ) -> None:
        self.name, self._monitor, self._spec = monitor.metadata.name, monitor, monitor.spec
        self._state, self._runners = state, runners
        self._take_sample, self._is_stored = take_sample, is_stored
        self._run_script = run_script
        self._not_before = state.clock.now() + self._spec.start_delay
        self._told_waiting = ""
        digest = _digest(monitor)
        fresh = MonitorStatus(
            monitor=self.name,
            server=state.me,
            type=self._spec.type,
            target=self._spec.target,
            spec=digest,
            revision=state.specs.revision if state.specs else 0,
            since_wall=state.clock.wall(),
        )
        if earlier is not None and earlier.spec == digest:
            # A step that was under way ended with the agent that took it; it stays counted.
            self.status = earlier.model_copy(update=_IDLE)
        else:
            self.status = fresh
        self._publish(self.status)

    async def run(self) -> None:
        """For ever, one probe after the other."""
        while True:
            since = await self._until_due()
            began = self._state.clock.now()
            sample = await self._sample()
            took = self._state.clock.now() - began
            # A probe that overlaps a start or a stop says nothing.
            if since == self._online_since():
                await self._take_in(sample, took)
            await self._pause(began + self._spec.interval, since)

    # -- when --------------------------------------------------------------------------------

    async def _until_due(self) -> float:
        """Until start delays are over and what an active monitor belongs to is online here; since
        when it is."""
        clock = self._state.clock
        while True:
            since = self._online_since()
            if since is None:
                self._note_offline()
                await clock.sleep(LOOK_EVERY_S)
                continue
            due = max(self._not_before, since + self._spec.start_delay)
            if clock.now() >= due:
                return since
            await clock.sleep(min(due - clock.now(), LOOK_EVERY_S))

    async def _pause(self, until: float, since: float) -> None:
        """Until the next probe, or until what it belongs to goes or comes anew."""
        clock = self._state.clock
        while clock.now() < until and self._online_since() == since:
            await clock.sleep(min(until - clock.now(), LOOK_EVERY_S))

    def _online_since(self) -> float | None:
        """Since when it may probe (own clock); None while it may not."""
        companion = self._spec.companion
        if companion is None:
            return float("-inf")
        runner = self._runner_of(companion)
        if runner is None or not runner.is_settled:
            return None
        kind, _, name = companion.partition("/")
        if kind == "resource" and name not in runner.slots:
            return None
        return runner.settled_at

    def _runner_of(self, text: str) -> GroupRunner | None:
        kind, _, name = text.partition("/")
        if kind == "resource" and self._state.specs is not None:
            resource = self._state.specs.resources.get(name)
            name = resource.spec.group if resource else ""
        return self._runners().get(name)

    def _note_offline(self) -> None:
        """A restart in place keeps the group online: the state stays what it is meanwhile."""
        runner = self._runner_of(self._spec.companion or "")
        if runner is not None and runner.phase is Phase.ONLINE:
            return
        if self.status.state is not MonitorState.OFFLINE:
            update = {
                "state": MonitorState.OFFLINE,
                "failures": 0,
                "healthy": 0,
                "warning": False,
                "waiting": "",
                "reason": f"{self._spec.companion} is not online here",
                "since_wall": self._state.clock.wall(),
            }
            self._publish(self.status.model_copy(update=update))

    # -- what --------------------------------------------------------------------------------

    async def _sample(self) -> Sample:
        specs = self._state.specs
        if specs is None:
            return Sample(None, "there are no specs")
        probe = asyncio.ensure_future(self._take_sample(self._monitor, specs))
        limit = asyncio.ensure_future(self._state.clock.sleep(self._spec.timeout + GRACE_S))
        try:
            await asyncio.wait({probe, limit}, return_when=asyncio.FIRST_COMPLETED)
            if not probe.done():
                return Sample(None, "the probe did not end in its time")
            return probe.result()
        except (ProbeUnavailable, HostError) as error:
            return Sample(None, str(error))
        finally:
            for task in (probe, limit):
                task.cancel()
            await asyncio.gather(probe, limit, return_exceptions=True)

    async def _take_in(self, sample: Sample, took: float) -> None:
        snapshot = self._state.snapshot()
        if snapshot is None:
            return
        before = self.status
        wall = self._state.clock.wall()
        obstacles = {} if sample.healthy else self._obstacles(snapshot)
        judged, step = judge(before, self._spec, sample.healthy, obstacles, wall)
        seen = {
            "reason": sample.reason,
            "output": sample.output,
            "warning": bool(sample.healthy) and sample.warning,
            "probed_wall": wall,
            "took_ms": round(took * 1000, 1),
        }
        new = judged.model_copy(update=seen)
        self._tell(before, new, sample, took)
        self._publish(new)
        if step is not None:
            await self._take(step, groups_of(snapshot, self._spec))

    def _obstacles(self, snapshot: Snapshot) -> dict[Step, str]:
        runners = self._runners()
        mine = [runners[g] for g in groups_of(snapshot, self._spec) if g in runners]
        left = all(runner.restarts_left > 0 for runner in mine)
        return obstacles_to(
            snapshot, self._spec, restarts_left=left, final_wall=self.status.final_wall
        )

    def _tell(self, before: MonitorStatus, new: MonitorStatus, sample: Sample, took: float) -> None:
        if sample.healthy is None:
            self._emit("monitor_probe_unknown", reason=sample.reason)
            return
        if sample.healthy and took >= self._spec.timeout * self._spec.delay_warning:
            self._emit(
                "monitor_delayed",
                duration_ms=round(took * 1000, 1),
                timeout_ms=round(self._spec.timeout * 1000, 1),
            )
        if new.state is not before.state:
            match new.state:
                case MonitorState.SUSPECT:
                    self._emit("monitor_suspected", reason=sample.reason)
                case MonitorState.FAULTY | MonitorState.PARKED if before.state not in _FAULTS:
                    self._emit("monitor_faulted", reason=sample.reason)
                case MonitorState.HEALTHY if before.state not in _QUIET:
                    self._emit("monitor_recovered", reason=sample.reason)
        if new.warning and not before.warning:
            self._emit("monitor_warned", reason=sample.reason)
        elif before.warning and not new.warning:
            self._emit("monitor_warning_ended", reason=sample.reason)
        if new.waiting and new.waiting != self._told_waiting:
            self._emit("recovery_waits", reason=new.waiting)
        self._told_waiting = new.waiting

    def _emit(self, name: str, **fields: object) -> None:
        """Every event says which monitor, and what it looks after."""
        self._state.events.emit(name, monitor=self.name, target=self._spec.target, **fields)

    # -- recovery ----------------------------------------------------------------------------

    async def _take(self, step: Step, groups: tuple[str, ...]) -> None:
        """Nothing is done before it was counted in the store: no crash makes it happen twice."""
        if step in _LOCKING:
            held = {"recovering": step.value, "recovering_groups": groups}
            self._publish(self.status.model_copy(update=held))
        counted = self.status
        if not await self._stored(counted):
            self._emit(
                "recovery_waits",
                reason="the store does not take the count of this step",
            )
            self._publish(self.status.model_copy(update=_IDLE))
            return
        reason = counted.reason or "it failed"
        why = reason if step is Step.FINAL else f"monitor {self.name}: {reason}"
        if step is Step.FINAL and self._spec.recovery.final_action == "none":
            self._emit("monitor_parked", action="none")
            return
        self._emit(
            "recovery_started",
            step=step.value,
            groups=list(groups),
            scripts=counted.scripts,
            restarts=counted.restarts,
            failovers=counted.failovers,
            reason=counted.reason,
        )
        if self._spec.companion is None:
            self._not_before = self._state.clock.now() + self._spec.start_delay
        if step is Step.SCRIPT:
            await self._repair(counted)
        for group in groups:
            await self._do(step, group, why)
        if step is Step.RESTART:
            await until_restarted(self._state, self._runners, counted, self._spec)
        self._publish(self.status.model_copy(update=_IDLE))
        if step is Step.FINAL:
            action = self._spec.recovery.final_action
            self._emit("monitor_parked", action=action)
            if action in set(MachineAction):
                await self._state.act_on_machine(action, f"monitor {self.name}: {why}", "")

    async def _repair(self, counted: MonitorStatus) -> None:
        said = await run_script(self._state, self._run_script, counted, self._spec)
        lines = said.output.strip().splitlines()
        reason = f"{said.reason}; its last words: {lines[-1][:200]}" if lines else said.reason
        event = "recovery_script_ended" if said.healthy else "recovery_script_failed"
        self._emit(event, reason=reason)

    async def _do(self, step: Step, group: str, why: str) -> None:
        runner = self._runners().get(group)
        if step is Step.FINAL:
            if self._spec.recovery.final_action == "stop-group":
                await self._stop_group(group, why)
            return
        if runner is None or step is Step.SCRIPT:
            return
        if step is Step.RESTART:
            kind, _, name = self._spec.target.partition("/")
            runner.restart(name if kind == "resource" else None, why)
        else:
            runner.fail(why)

    async def _stop_group(self, group: str, why: str) -> None:
        """The same wish that an operator would store: visible, and undone by `start`."""
        state = self._state
        number = ulid(state.clock.wall(), state.rng.randbytes(RANDOM_BYTES))
        key = state.keys.operation(number)
        record = Operation(
            nonce=state.nonce(),
            id=number,
            kind=OperationKind.STOP,
            target=f"group/{group}",
            who=f"{MONITOR_PREFIX}{self.name} on {state.me}",
            why=why,
            created_wall=state.clock.wall(),
        )
        try:
            put = Put(key, record.to_bytes())
            await state.store.commit(Transaction((Unchanged(key, 0),), (put,), key))
        except StoreError as error:
            state.events.emit("store_write_failed", error=str(error))

    async def _stored(self, status: MonitorStatus) -> bool:
        end = self._state.clock.now() + STORE_WAIT_S
        while not self._is_stored(status):
            if self._state.clock.now() >= end:
                return False
            await self._state.clock.sleep(0.01)
        return True

    def _publish(self, new: MonitorStatus) -> None:
        """What differs only in when and how long is stored once in a while."""
        self.status = new
        shown = self._state.monitors.get(self.name)
        times = {"probed_wall": new.probed_wall, "took_ms": new.took_ms, "output": new.output}
        if shown is not None and shown.model_copy(update={**times, "reason": new.reason}) == new:
            quiet = new.state is MonitorState.HEALTHY or shown.reason == new.reason
            if quiet and new.probed_wall - shown.probed_wall < RETELL_S:
                return
        self._state.monitors[self.name] = new
        self._state.wake()


_FAULTS = (MonitorState.FAULTY, MonitorState.PARKED)
_QUIET = (MonitorState.UNKNOWN, MonitorState.OFFLINE)
_LOCKING = (Step.SCRIPT, Step.RESTART)
_IDLE: dict[str, object] = {"recovering": "", "recovering_groups": ()}


def _digest(monitor: Monitor) -> str:
    """Of the whole spec: another interval is another monitor to the counters."""
    text = monitor.spec.model_dump_json(by_alias=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
