"""The holder at work: starts one workload, sees its end at once, ends all of it.

Driven by `entry.py`. It needs nobody once the workload runs: it answers `watch` and `stop` on its
own socket.
"""

import json
import os
import select
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.runner import cgroup, launch, tree
from reconciler.runner import record as records
from reconciler.runner.output import CHUNK, OutputLog

CLIENT_LIMIT = 64
LINE_LIMIT = 1 << 20
_KILL_PAUSE_S = 0.01
_DEFAULT_GRACE_S = 20.0


@dataclass
class Client:
    """One connection: a watcher that knows the state `seen`, or somebody who waits for a stop."""

    connection: socket.socket
    received: bytes = b""
    seen: str | None = None
    waits_for_stop: bool = False


@dataclass
class Stop:
    """A stop under way: the command, then the signal to the main process, then to what it left.

    A command that succeeded gets until `patience` before the signal follows: many only ask.
    `killing_since` is set once only SIGKILL is left to do."""

    command: list[str]
    signal: int
    patience: float
    deadline: float
    must_succeed: bool
    command_pid: int | None = None
    command_code: int | None = None
    main_signalled: bool = False
    rest_signalled: bool = False
    killing_since: float | None = None

    @property
    def failed(self) -> bool:
        """The command had to succeed and did not."""
        return self.must_succeed and self.command_pid is None and self.command_code not in (None, 0)


@dataclass
class Holder:
    """State of this process. `job` is what the agent sent, see `adapters.linux.runners`."""

    job: dict[str, Any]
    record: records.Record
    listener: socket.socket
    lock: int
    wake: int
    log: OutputLog
    output: tuple[int, int]
    who: launch.Identity
    clients: list[Client] = field(default_factory=list)
    stop: Stop | None = None
    finished: bool = False

    @property
    def directory(self) -> str:
        return str(self.job["directory"])

    def launch(self, command: list[str]) -> int:
        environment = {**self.job["environment"], records.TOKEN_VARIABLE: self.record.token}
        place = str(self.job["cwd"])
        return launch.launch(
            command, environment, place, self.who, self.output[1], self.record.cgroup
        )

    def start(self) -> None:
        """Recorded before the fork: a crash in between leaves a record that names nothing."""
        self._note(state=records.STARTING)
        try:
            pid = self.launch(list(self.job["command"]))
        except launch.LaunchError:
            self._forget()
            raise
        main = records.identify(pid) or records.Process(pid, 0)
        self._note(state=records.RUNNING, main=main, started_wall=time.time())

    def run(self) -> None:
        """Until nothing is left to hold."""
        poller = select.poll()
        while not self.finished:
            listening = {self.wake: None, self.listener.fileno(): None, self.output[0]: None}
            watched = listening | {c.connection.fileno(): c for c in self.clients}
            for number in watched:
                poller.register(number, select.POLLIN)
            ready = [number for number, _ in poller.poll(self._pause_ms())]
            for number in watched:
                poller.unregister(number)
            for number in ready:
                self._serve(number, watched[number])
            self._reap()
            self._advance()

    def _pause_ms(self) -> float | None:
        if self.stop is None:
            return _KILL_PAUSE_S * 1000 if self._is_clearing else None
        if self.stop.killing_since is not None:
            return _KILL_PAUSE_S * 1000
        now = time.monotonic()
        until = self.stop.patience if now < self.stop.patience else self.stop.deadline
        return max(0.0, until - now) * 1000 + 1

    @property
    def _is_clearing(self) -> bool:
        """A resident program ended by itself: what it left behind has to go too."""
        return self.record.state == records.EXITED and not self.job["keep_after_exit"]

    def _serve(self, number: int, client: Client | None) -> None:
        if client is not None:
            self._receive(client)
        elif number == self.wake:
            with suppress(BlockingIOError):
                self._on_signals(os.read(self.wake, CHUNK))
        elif number == self.output[0]:
            self._drain()
        else:
            with suppress(BlockingIOError):
                connection, _ = self.listener.accept()
                connection.setblocking(False)
                if len(self.clients) >= CLIENT_LIMIT:
                    connection.close()
                else:
                    self.clients.append(Client(connection))

    def _on_signals(self, numbers: bytes) -> None:
        """SIGTERM (the machine goes down): end the workload in order, so that none is orphaned."""
        if signal.SIGTERM in numbers and self.stop is None:
            self._begin_stop({})

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            self.log.write(os.read(self.output[0], CHUNK))

    def _receive(self, client: Client) -> None:
        try:
            data = client.connection.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.received += data
        if not data or len(client.received) > LINE_LIMIT:
            self.clients.remove(client)
            client.connection.close()
            return
        line, newline, client.received = client.received.partition(b"\n")
        if not newline:
            client.received = line
            return
        try:
            self._obey(client, json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            send(client.connection, {"error": f"not understood: {error}"})

    def _obey(self, client: Client, request: dict[str, Any]) -> None:
        if request["do"] == "watch":
            client.seen = str(request["seen"])
            self._tell_watchers()
        elif request["do"] == "stop":
            if self.record.epoch > int(request["epoch"]):
                send(client.connection, {"newer": self.record.epoch})
                return
            client.waits_for_stop = True
            send(client.connection, {"accepted": True})
            self._begin_stop(request)

    def _begin_stop(self, request: dict[str, Any]) -> None:
        """A second request shortens a stop that is under way, and never prolongs it."""
        grace = float(request.get("grace_s", _DEFAULT_GRACE_S))
        deadline = time.monotonic() + grace
        if self.stop is not None:
            self.stop.deadline = min(self.stop.deadline, deadline)
            return
        self.stop = Stop(
            command=list(request.get("command", ())),
            signal=int(request.get("signal", signal.SIGTERM)),
            patience=deadline - grace / 2,
            deadline=deadline,
            must_succeed=bool(request.get("must_succeed", False)),
        )
        if self.stop.command:
            try:
                self.stop.command_pid = self.launch(self.stop.command)
            except launch.LaunchError as error:
                self.stop.command_code = 127
                self.log.write(f"stop command: {error}\n".encode())
        if self.record.state != records.EXITED:
            self._note(state=records.STOPPING)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            if self.record.main is not None and pid == self.record.main.pid:
                self._on_main_exit(code)
            elif self.stop is not None and pid == self.stop.command_pid:
                self.stop.command_pid, self.stop.command_code = None, code

    def _on_main_exit(self, code: int) -> None:
        self._drain()
        stopping = self.stop is not None
        state = records.STOPPING if stopping else records.EXITED
        self._note(state=state, exit_code=code)

    def _advance(self) -> None:
        """One step of a stop, or of clearing away what a resident program left behind."""
        if self.stop is not None:
            self._advance_stop(self.stop)
        elif self._is_clearing:
            if _has_children():
                self._kill()
            else:
                self._end()

    def _advance_stop(self, stop: Stop) -> None:
        now = time.monotonic()
        if stop.failed and (stop.killing_since is None or not _has_children()):
            self._give_up(f"stop command ended with code {stop.command_code}")
        elif not _has_children():
            self._forget()
            self._end()
            self._answer({"stopped": True})
        elif stop.killing_since is not None:
            self._kill()
            if now - stop.killing_since > tree.KILL_LIMIT_S:
                left = ", ".join(map(str, sorted(tree.below(os.getpid()))))
                self._give_up(f"processes do not go even with SIGKILL: {left}")
        elif now >= stop.deadline:
            stop.killing_since = now
            self._kill()
        elif stop.command_pid is None:
            self._signal(stop)

    def _signal(self, stop: Stop) -> None:
        """The main process first: it knows how to end its children."""
        main = self.record.main
        if main is not None and records.is_alive(main):
            asked = stop.command_code == 0 and time.monotonic() < stop.patience
            if not asked and not stop.main_signalled:
                stop.main_signalled = True
                tree.signal_all({main.pid}, stop.signal)
        elif not stop.rest_signalled:
            stop.rest_signalled = True
            tree.signal_all(tree.below(os.getpid()), stop.signal)

    def _give_up(self, problem: str) -> None:
        """The stop failed; it may be asked for again."""
        if self.stop is not None and self.stop.command_pid is not None:
            tree.signal_all({self.stop.command_pid}, signal.SIGKILL)
        self.stop = None
        main_lives = records.is_alive(self.record.main)
        self._note(state=records.RUNNING if main_lives else records.EXITED)
        self._answer({"error": problem})

    def _kill(self) -> None:
        if self.record.cgroup is not None:
            cgroup.kill(self.record.cgroup)
        tree.signal_all(tree.below(os.getpid()), signal.SIGKILL)

    def _note(self, **changes: Any) -> None:
        self.record = replace(self.record, **changes)
        records.write(self.directory, self.record)
        self._tell_watchers()

    def _tell_watchers(self) -> None:
        for client in self.clients:
            if client.seen is not None and client.seen != self.record.state:
                client.seen = None
                send(client.connection, {"state": self.record.state})

    def _answer(self, answer: dict[str, Any]) -> None:
        for client in self.clients:
            if client.waits_for_stop:
                client.waits_for_stop = False
                send(client.connection, answer)

    def _forget(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(self.directory, records.RECORD))

    def _end(self) -> None:
        """Leave the directory to the next holder before anybody is told that we are gone."""
        self._drain()
        self.finished = True
        self.discard()

    def discard(self) -> None:
        """Clear away what belongs to this holder only."""
        if self.record.cgroup is not None:
            cgroup.remove(self.record.cgroup)
        with suppress(FileNotFoundError):
            os.unlink(records.SOCKET)
        os.close(self.lock)


def _has_children() -> bool:
    """As the subreaper we have no child exactly when the whole tree is gone."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    with suppress(OSError):  # who asked has gone
        connection.send(json.dumps(message).encode() + b"\n")
