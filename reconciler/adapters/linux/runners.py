"""Starts, adopts and stops the process holders of this server (`ports.host.Runners`).

The state is on disk and in the kernel, never here: a restarted agent finds the same runners.
"""

import asyncio
import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reconciler.adapters.linux.holders import Gone, Line, Nursery, checked, dead, kill, settle
from reconciler.ports.driver import Permit, PermitExpired
from reconciler.ports.host import HostError, RunnerState, RunnerView, StopPlan, Workload
from reconciler.runner import cgroup, tree
from reconciler.runner import record as records

ANSWER_TIMEOUT_S = 15.0
"""For a holder to come up or to execute a program (which has 10 s); the resource's own start
time-out is normally shorter."""

GO_TRIES = 5
ACCEPT_TIMEOUT_S = 2.0
"""A holder that does not even accept a stop in this time is frozen: it is killed instead."""

KILL_PAUSE_S = 0.002
STOP_MARGIN_S = tree.KILL_LIMIT_S + 2.0


class LinuxRunners:
    """One for each agent; the runners live under `<run directory>/runners/<name>`."""

    def __init__(self, run_directory: Path) -> None:
        self._root = run_directory / "runners"
        self._nursery = Nursery(self._root)
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        # Starts whose word to go may be on its way; they go on when their caller gives up.
        self._starting: dict[str, asyncio.Task[None]] = {}

    def close(self) -> None:
        """Let the nursery go. Workloads stay."""
        self._nursery.close()

    def names(self) -> tuple[str, ...]:
        """Names of all that is recorded; raises `HostError` when that can not be read now."""
        try:
            paths = list(self._root.glob(f"*/{records.RECORD}"))
        except OSError as error:  # out of descriptors
            raise HostError(f"the records of runners are not readable: {error}") from error
        return tuple(sorted(path.parent.name for path in paths))

    def recorded(self) -> tuple[records.Record, ...]:
        """What is recorded of every workload; an exited one may have left processes behind."""
        found = (self._read(name) for name in self.names())
        return tuple(r for r in found if r is not None)

    async def prepare(self) -> None:
        self._nursery.start()

    async def observe(self, name: str) -> RunnerView:
        await self._settled(name)
        record = self._read(name)
        if record is None:
            return RunnerView(RunnerState.ABSENT)
        state, left = RunnerState.LOST, None
        is_held = records.is_alive(record.holder)
        if record.state == records.EXITED:
            state, left = RunnerState.EXITED, 0
        elif is_held:
            state, left = _LIVE_STATES[record.state], 0
        else:
            with suppress(OSError):
                left = len(tree.strays(record))
        return RunnerView(
            state=state,
            epoch=record.epoch,
            pid=record.main.pid if record.main else None,
            exit_code=record.exit_code,
            started_wall=record.started_wall,
            left=left,
            is_held=is_held,
        )

    async def start(self, name: str, workload: Workload, permit: Permit) -> None:
        await self._settled(name)
        if self._read(name) is not None:
            raise HostError(f"a runner of {name} is there already")
        permit.check()
        starting = asyncio.create_task(self._start(name, workload, permit))
        self._starting[name] = starting
        starting.add_done_callback(lambda done: self._started(name, done))
        # A word to go cannot be called back: whoever gives up here, `stop` waits for its outcome.
        await asyncio.shield(starting)

    def _started(self, name: str, done: "asyncio.Task[None]") -> None:
        if self._starting.get(name) is done:
            del self._starting[name]
        if not done.cancelled():
            done.exception()  # raised to the caller, unless that one gave up

    async def _settled(self, name: str) -> None:
        """Returns when no start of that name is under way any more; each ends by itself."""
        while name in self._starting:
            await asyncio.wait({self._starting[name]})

    async def _start(self, name: str, workload: Workload, permit: Permit) -> None:
        generation = self._nursery.generation
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                with await self._ready(self._job(name, workload, permit.epoch)) as line:
                    await self._go_or_die(line, permit)
        except TimeoutError:
            self._nursery.replace(generation)  # it may be what hangs
            raise HostError("the runner did not answer in time") from None
        finally:
            self._tell(name)
        if not permit.is_valid():
            await self._stop(name, permit.epoch, StopPlan(grace_s=0.0))
            raise PermitExpired(f"permit for epoch {permit.epoch} ended while starting {name}")

    async def _ready(self, job: dict[str, Any]) -> Line:
        """A holder that has the job. A nursery that dies before it forked is replaced once."""
        line = self._nursery.holder()
        generation = self._nursery.generation
        try:
            await line.hand_over(job)
        except Gone:
            self._nursery.replace(generation)
            line = self._nursery.holder()
            await line.hand_over(job)
        return line

    async def _go_or_die(self, line: Line, permit: Permit) -> None:
        """A holder that does not say in time what it did must not do it later."""
        try:
            await self._go(line, permit)
        except asyncio.CancelledError:
            await line.kill_holder()
            raise

    async def _go(self, line: Line, permit: Permit) -> None:
        """The permit is checked, then the word leaves, with nothing in between; a holder that gets
        it too late refuses, and the permit is asked again."""
        for _ in range(GO_TRIES):
            permit.check()
            line.send_now({"go": time.monotonic()})
            answer = checked(await line.receive())
            if "started" in answer:
                return
        raise HostError("this server is too slow to start a program safely")

    async def stop(self, name: str, epoch: int, plan: StopPlan) -> None:
        await self._settled(name)
        await self._stop(name, epoch, plan)

    async def _stop(self, name: str, epoch: int, plan: StopPlan) -> None:
        record = self._read(name)
        if record is None or record.epoch > epoch:
            return
        try:
            if records.is_alive(record.holder) and await self._ask_to_stop(name, epoch, plan):
                return
            # A newer one may have begun while we asked.
            record = self._read(name)
            if record is not None and record.epoch <= epoch:
                await asyncio.to_thread(self._clear, record)
        finally:
            self._tell(name)

    async def kill(self, name: str, epoch: int) -> None:
        await self._settled(name)
        record = self._read(name)
        if record is None or record.epoch > epoch:
            return
        try:
            await asyncio.to_thread(self._kill, record)
        finally:
            self._tell(name)

    async def changed(self, name: str, seen: RunnerState | None = None) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiters.setdefault(name, set())
        waiting.add(waiter)
        # Connected before the state is compared, so that no change falls in between.
        line = self._connect(name)
        watching = asyncio.ensure_future(self._watch(self._read(name), line))
        try:
            if seen is not None and (await self.observe(name)).state is not seen:
                return
            await asyncio.wait({waiter, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.discard(waiter)
            waiter.cancel()
            watching.cancel()
            await asyncio.wait({watching})
            if line is not None:
                line.close()

    def log_tail(self, name: str, limit_bytes: int = 2000) -> str:
        path = self._root / name / records.LOG
        try:
            data = path.read_bytes()
        except OSError:
            return ""
        return data[-limit_bytes:].decode(errors="replace")

    async def _watch(self, record: records.Record | None, line: Line | None) -> None:
        """Returns when the holder reports another state than the recorded one, or is gone."""
        if record is None or (line is None and not records.is_alive(record.holder)):
            await asyncio.get_running_loop().create_future()  # only this agent can change it now
            return
        if line is not None:
            with suppress(Gone):
                await line.send({"do": "watch", "seen": record.state})
                await line.receive()
                return
        # A killed process closes its sockets a moment before it counts as dead.
        await dead(record.holder.pid)

    async def _ask_to_stop(self, name: str, epoch: int, plan: StopPlan) -> bool:
        """False when the holder is gone, hangs, or went without an answer."""
        line = self._connect(name)
        if line is None:
            return False
        with line:
            try:
                async with asyncio.timeout(ACCEPT_TIMEOUT_S):
                    await line.send({"do": "stop", "epoch": epoch, **asdict(plan)})
                    accepted = await line.receive()
                async with asyncio.timeout(plan.grace_s + STOP_MARGIN_S):
                    if "accepted" in accepted:
                        checked(await line.receive())
            except (Gone, TimeoutError):
                return False
        return True

    def _clear(self, record: records.Record) -> None:
        """What a dead holder left: its processes, its cgroup, its record. Runs in a thread."""
        if records.is_alive(record.holder):
            # It does not answer any more (frozen): it must not act again after we cleared.
            kill(record.holder)
        try:
            left = tree.kill_strays(record)
        except OSError as error:
            raise HostError(f"can't see what is left of {record.name}: {error}") from error
        if left:
            raise HostError(f"processes of {record.name} do not go: {sorted(left)}")
        if record.cgroup:
            cgroup.remove(record.cgroup)
        (self._root / record.name / records.RECORD).unlink(missing_ok=True)

    def _kill(self, record: records.Record) -> None:
        """Until nothing is left, and the holder, if there is one, has noted that. In a thread."""
        deadline = time.monotonic() + tree.KILL_LIMIT_S
        while True:
            if record.cgroup:
                cgroup.kill(record.cgroup)
            held = records.is_alive(record.holder)
            try:
                left = tree.below(record.holder.pid) if held else tree.strays(record)
            except OSError as error:
                raise HostError(f"can't see what is left of {record.name}: {error}") from error
            tree.signal_all(left, signal.SIGKILL)
            now = self._read(record.name)
            if not left and (not held or now is None or now.state != records.RUNNING):
                return
            if time.monotonic() > deadline:
                raise HostError(f"processes of {record.name} do not go: {sorted(left)}")
            time.sleep(KILL_PAUSE_S)

    def _read(self, name: str) -> records.Record | None:
        try:
            return records.read(str(self._root / name))
        except (ValueError, OSError) as error:
            raise HostError(f"the record of {name}'s runner is not readable: {error}") from error

    def _job(self, name: str, workload: Workload, epoch: int) -> dict[str, Any]:
        directory = self._root / name
        return {
            "name": name,
            "epoch": epoch,
            "directory": str(directory),
            "command": list(workload.command),
            "environment": dict(workload.environment),
            "cwd": workload.directory,
            "user": workload.user,
            "group": workload.group,
            "keep_after_exit": workload.keep_after_exit,
            "log": str(directory / records.LOG),
            "log_limit_bytes": workload.log_limit_bytes,
            "log_files": workload.log_files,
        }

    def _connect(self, name: str) -> Line | None:
        """A connection to the holder's socket; None when nobody listens there."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Through a descriptor, because a unix socket's path is limited to 107 bytes.
            directory = os.open(self._root / name, os.O_PATH | os.O_DIRECTORY)
            try:
                connection.connect(f"/proc/self/fd/{directory}/{records.SOCKET}")
            finally:
                os.close(directory)
        except OSError:
            connection.close()
            return None
        return Line(connection)

    def _tell(self, name: str) -> None:
        for waiter in self._waiters.pop(name, set()):
            settle(waiter)


_LIVE_STATES = {
    records.STARTING: RunnerState.RUNNING,
    records.RUNNING: RunnerState.RUNNING,
    records.STOPPING: RunnerState.STOPPING,
}
