"""Runs the monitors that are due on this server, and takes the steps of their recovery.

One task for each monitor: probes never overlap, and one that hangs delays no other. What to do is
decided by `decide.recovery`; each step is stored in the status before it is taken.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from reconciler.decide.records import MonitorState, MonitorStatus
from reconciler.decide.snapshot import Specs
from reconciler.loops.group_runner import GroupRunner
from reconciler.loops.monitor import MonitorRun
from reconciler.loops.recovery_script import RunScript, no_scripts
from reconciler.loops.state import AgentState
from reconciler.ports.probes import Sample
from specs.monitor import Monitor

LOOK_EVERY_S = 1.0

TakeSample = Callable[[Monitor, Specs], Awaitable[Sample]]
"""One probe on this server; raises `ProbeUnavailable` or `HostError`."""


class MonitorLoop:
    def __init__(
        self,
        state: AgentState,
        runners: Callable[[], Mapping[str, GroupRunner]],
        take_sample: TakeSample,
        is_stored: Callable[[MonitorStatus], bool],
        run_script: RunScript = no_scripts,
    ) -> None:
        self._state, self._runners = state, runners
        self._take_sample, self._is_stored = take_sample, is_stored
        self._run_script = run_script
        self._tasks: dict[str, tuple[Monitor, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """For ever; a monitor's own faults are reported and end nothing."""
        # The counters of an earlier agent of this server count on.
        await self._state.mirror.status_synced.wait()
        try:
            while True:
                self._follow_specs()
                await self._state.clock.sleep(LOOK_EVERY_S)
        finally:
            tasks = [task for _, task in self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _follow_specs(self) -> None:
        specs = self._state.specs
        if specs is None:
            return
        wanted = {
            name: monitor
            for name, monitor in specs.monitors.items()
            if monitor.spec.servers is None or self._state.me in monitor.spec.servers
        }
        for name, (monitor, task) in tuple(self._tasks.items()):
            if wanted.get(name) != monitor or task.done():
                task.cancel()
                del self._tasks[name]
                self._state.monitors.pop(name, None) if name not in wanted else None
        for name, monitor in sorted(wanted.items()):
            if name not in self._tasks:
                self._tasks[name] = (monitor, self._start(name, monitor))
        self._state.monitors_known = True

    def _start(self, name: str, monitor: Monitor) -> "asyncio.Task[None]":
        known = self._state.monitors.get(name)
        stored = self._state.mirror.monitor_status.get((self._state.me, name))
        run = MonitorRun(
            monitor,
            self._state,
            self._runners,
            self._take_sample,
            self._is_stored,
            known or stored,
            self._run_script,
        )
        return asyncio.create_task(self._guarded(name, run), name=f"monitor {name}")

    async def _guarded(self, name: str, run: MonitorRun) -> None:
        try:
            await run.run()
        except Exception as error:  # noqa: BLE001 - one monitor must not end the agent
            self._state.events.emit("monitor_broke", monitor=name, error=repr(error)[:500])
            status = self._state.monitors.get(name)
            if status is not None:
                update = {"state": MonitorState.UNKNOWN, "reason": "it broke; see monitor_broke"}
                self._state.monitors[name] = status.model_copy(update=update)
            await self._state.clock.sleep(self._state.jitter(60.0))
