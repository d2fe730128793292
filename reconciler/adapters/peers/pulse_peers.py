"""`ports.peers.Peers` over the link to the pulse process. The agent makes one and runs `run()`.

Connects, configures, repeats everything after a reconnect, starts a pulse where there is none and
replaces one that hangs. Closing it leaves the pulse alive: it goes on heartbeating for this server
while the agent restarts.
"""

import asyncio
import json
import math
import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.adapters.peers.configuration import KillEntry, PulseConfiguration
from reconciler.adapters.peers.lending import Lent
from reconciler.adapters.peers.spawn import (
    MAX_MESSAGE,
    has_ended,
    is_running,
    kill_pulse,
    lock_holder,
    pulse_pid,
    spawn_pulse,
    try_connect,
)
from reconciler.adapters.peers.view import PulseStatus, essence, parse_status, parse_view
from reconciler.ports.clock import Clock
from reconciler.ports.events import Events
from reconciler.ports.peers import PeersView

_CHECK_EVERY_S = 0.25
_RETRY_S = 0.1
_START_S = 5.0
_LONGEST_PAUSE_S = 2.0
_REARM_S = 0.5
_HANG_FACTOR = 2  # silent for twice as long as promised: it will not come back by itself


class PulseError(Exception):
    """The pulse cannot be started or refuses what it is told, with a sentence."""


class PulsePeers:
    """`socket_path`: the pulse's socket; `state_path`: where it keeps its deadline; `log_path`: its
    log (default: our standard error)."""

    def __init__(
        self,
        socket_path: Path,
        *,
        clock: Clock,
        state_path: Path | None = None,
        log_path: Path | None = None,
        events: Events | None = None,
    ) -> None:
        self._socket_path = socket_path
        self._state_path = state_path
        self._log_path = log_path
        self._clock = clock
        self._events = events
        self._socket: socket.socket | None = None
        self._lost: asyncio.Future[None]  # made with each connection
        self._child: int | None = None
        self._configuration: PulseConfiguration | None = None
        self._kill_list: list[KillEntry] | None = None
        self._report: dict[str, Any] | None = None
        self._watchdog: tuple[int, float, float] | None = None
        self._armed_as: tuple[float, float] | None = None  # asked for, what the device made of it
        self._watchdog_sent_at = clock.now()
        self._lent = Lent()
        self._hold: bool | None = None
        self._view = PeersView(taken_at=clock.now())
        self._status = PulseStatus()
        self._was_alive = False
        self._sign_at = clock.now()  # last message, or since when one is due
        self._generation = 0
        self._returned = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._configured = asyncio.Event()
        self._refusal: str | None = None

    # -- the port -------------------------------------------------------------------------------

    def view(self) -> PeersView:
        """The newest view; `pulse_alive` is judged now."""
        return replace(self._view, pulse_alive=self._is_alive(), paused=self._status.paused)

    async def changed(self) -> None:
        """Returns at the next transition, at once if one came since it last returned."""
        while self._returned == self._generation:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        self._returned = self._generation

    def report(self, *, store: str, proven_at: float | None) -> None:
        """See `ports.peers.Peers.report`; call it at each renewal and at least each second."""
        ttl = self._configuration.session_ttl if self._configuration else 0.0
        # A pulse of the version before this one, which outlives its agent, reads only the last.
        until = None if proven_at is None else proven_at + ttl
        self._report = {"op": "report", "store": store, "proven_at": proven_at}
        self._report["proof_until"] = until
        self._send(self._report)

    def stretch(self, hold: str, until: float) -> None:
        """See `ports.peers.Peers.stretch`; not repeated here: the next view tells who asks."""
        self._send({"op": "stretch", "hold": hold, "until": until})

    # -- what the agent also tells --------------------------------------------------------------

    def configure(self, configuration: PulseConfiguration) -> None:
        """What the pulse shall do from now on; repeated by itself after each reconnect."""
        same = configuration == self._configuration and self._refusal is None
        if same and self._configured.is_set():
            return  # else each apply would make the pulse look dead for a moment
        self._configuration = configuration
        self._configured.clear()
        self._refusal = None
        self._send(configuration.message())

    def register(self, entries: Sequence[KillEntry]) -> None:
        """Replace the list of what the dead-man ends (see `configuration.kill_*`)."""
        self._kill_list = list(entries)
        self._send({"op": "register-kill", "entries": self._kill_list})

    def arm(self, descriptor: int, timeout_s: float, stall_s: float = 0.0) -> None:
        """Let the pulse feed this watchdog; repeated after each reconnect. The descriptor stays
        ours: while we hold it, the end of a pulse does not close the device."""
        self._watchdog = descriptor, timeout_s, stall_s
        self._send_watchdog()

    def borrow_watchdog(self) -> int | None:
        """The device that the pulse feeds, as a descriptor of the caller's own. Ask again at the
        next look: None until the pulse has answered, and for ever when it has none."""
        if not self._lent.asked and self._socket is not None:
            self._lent.asked = True
            self._send({"op": "lend-watchdog"})
        return self._lent.take()

    def hold(self, wanted: bool) -> None:
        """See `ports.peers.Peers.hold`; repeated after each reconnect."""
        self._hold = wanted
        self._send({"op": "hold", "hold": wanted})

    def status(self) -> PulseStatus:
        """The newest word of the pulse about itself."""
        return self._status

    async def ready(self, timeout_s: float = _START_S) -> None:
        """Returns when a pulse works with our configuration; needs `run()`. Raises `PulseError`."""
        try:
            await asyncio.wait_for(self._configured.wait(), timeout_s)
        except TimeoutError:
            raise PulseError(f"no pulse answered on {self._socket_path} in {timeout_s} s") from None
        if self._refusal is not None:
            raise PulseError(f"the pulse refused its configuration: {self._refusal}")

    # -- supervision ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep a working pulse connected, for ever. Cancel to stop; the pulse stays."""
        pause = _RETRY_S
        try:
            while True:
                try:
                    await self._connect()
                    pause = _RETRY_S
                    await self._supervise()
                except OSError as error:
                    self._emit("pulse_unreachable", reason=str(error))
                    pause = min(pause * 2, _LONGEST_PAUSE_S)
                self._disconnect()
                self._notice()
                await asyncio.sleep(pause * secrets.SystemRandom().uniform(0.5, 1.0))
        finally:
            self._disconnect()

    async def stop_pulse(self, timeout_s: float = _START_S) -> None:
        """End the pulse too (this server leaves); call after `run()` was cancelled."""
        try:
            sock = try_connect(self._socket_path)
        except OSError:
            return
        with sock:
            pid = pulse_pid(sock)
            with suppress(OSError):
                sock.send(b'{"op":"stop"}')
            deadline = self._clock.now() + timeout_s
            while is_running(pid):
                if self._clock.now() > deadline:
                    kill_pulse(pid)
                    break
                await asyncio.sleep(0.02)
        self._reaped()

    async def _connect(self) -> None:
        """Connect, starting a pulse first if nobody listens. Raises `OSError`."""
        deadline = self._clock.now() + _START_S
        self._reaped()
        while True:
            try:
                sock = try_connect(self._socket_path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if self._clock.now() > deadline:
                    raise
            except BlockingIOError:  # it hangs so long that its queue is full
                self._kill_hung(lock_holder(self._socket_path))
                raise
            if self._child is None or self._reaped():
                self._child = spawn_pulse(self._socket_path, self._state_path, self._log_path)
                self._emit("pulse_started", pid=self._child)
            await asyncio.sleep(0.02)
        self._socket = sock
        self._lost = asyncio.get_running_loop().create_future()
        self._configured.clear()
        self._armed_as = None
        self._sign_at = self._clock.now()
        asyncio.get_running_loop().add_reader(sock.fileno(), self._readable)
        self._send_watchdog()
        if self._configuration is not None:
            self._send(self._configuration.message())
        if self._hold is not None:
            self._send({"op": "hold", "hold": self._hold})
        # Before the list: what is on it is judged by the newest proof.
        if self._report is not None:
            self._send(self._report)
        if self._kill_list is not None:
            self._send({"op": "register-kill", "entries": self._kill_list})

    async def _supervise(self) -> None:
        """Returns when the connection is gone; kills a pulse that hangs."""
        checked_at = self._clock.now()
        while self._socket is not None:
            await asyncio.wait({self._lost}, timeout=_CHECK_EVERY_S)
            self._notice()
            now = self._clock.now()
            if now - checked_at > 2 * _CHECK_EVERY_S:
                self._sign_at = now  # we were late ourselves: give it its time again
            checked_at = now
            if self._socket is None:
                return
            if now - self._sign_at > _HANG_FACTOR * self._promise():
                self._kill_hung(pulse_pid(self._socket))
                return

    def _kill_hung(self, pid: int | None) -> None:
        killed = pid is not None and kill_pulse(pid)
        self._emit("pulse_hung", pid=pid, killed=killed)

    def _reaped(self) -> bool:
        if self._child is not None and has_ended(self._child):
            self._child = None
            return True
        return False

    def _disconnect(self) -> None:
        sock, self._socket = self._socket, None
        self._lent.forget()
        if sock is not None:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()
            self._lost.set_result(None)

    # -- messages -------------------------------------------------------------------------------

    def _send(self, message: dict[str, Any]) -> None:
        if self._socket is None:
            return  # everything is repeated on connecting
        try:
            self._socket.send(json.dumps(message, separators=(",", ":")).encode())
        except OSError as error:
            if message["op"] == "report" and isinstance(error, BlockingIOError):
                return  # the next report says it all again
            self._disconnect()

    def _send_watchdog(self) -> None:
        if self._socket is None or self._watchdog is None:
            return
        descriptor, timeout, stall = self._watchdog
        self._watchdog_sent_at = self._clock.now()
        message = json.dumps({"op": "watchdog", "timeout": timeout, "stall": stall}).encode()
        try:
            socket.send_fds(self._socket, [message], [descriptor])
        except OSError:
            self._disconnect()

    def _readable(self) -> None:
        while self._socket is not None:
            try:
                raw, lent, _, _ = socket.recv_fds(self._socket, MAX_MESSAGE, 1)
            except BlockingIOError:
                return
            except OSError:
                raw, lent = b"", []
            if not raw:
                self._disconnect()
                return
            self._lent.keep(lent)
            self._take(json.loads(raw))

    def _take(self, message: dict[str, Any]) -> None:
        op = message.get("op")
        self._sign_at = self._clock.now()
        if op == "view":
            if "paused" in message:  # else it is not configured yet and knows of nobody
                self._take_view(message)
        elif op == "hello":
            self._status = PulseStatus(
                pid=message["pid"],
                realtime=message["realtime"],
                locked=message["locked"],
                warnings=tuple(message["warnings"]),
            )
            self._warn(())
        elif op == "configured":
            self._configured.set()
            self._notice()
        elif op == "watchdog-armed":
            self._take_armed(message)
        elif op == "refused" and message.get("what") != "lend-watchdog":  # that one is older
            self._emit("pulse_refused", what=message.get("what"), reason=message.get("reason"))
            if message.get("what") == "configure":
                self._refusal = str(message.get("reason"))
                self._configured.set()

    def _take_view(self, message: dict[str, Any]) -> None:
        before, status_before = self._view, self._status
        self._view = parse_view(message)
        self._status = parse_status(message, status_before)
        if self._is_armed_otherwise() and self._clock.now() - self._watchdog_sent_at > _REARM_S:
            self._send_watchdog()  # it was refused: not promised yet, or the device failed
        self._warn(status_before.warnings)
        if self._status.pauses > status_before.pauses:
            self._emit("pulse_paused", late_ms=self._view.late_ms)
        if self._status.watchdog_error and not status_before.watchdog_error:
            self._emit("watchdog_failed", error=self._status.watchdog_error)
        if self._status.dead_man_fired > status_before.dead_man_fired:
            self._emit("dead_man_fired", outcomes=self._status.dead_man_outcomes)
        if essence(before, status_before) != essence(self._view, self._status):
            self._bump()
        self._notice()

    def _is_armed_otherwise(self) -> bool:
        """The watchdog is not what it was asked to be, and that is not all that it can."""
        if self._watchdog is None:
            return False
        wanted, is_now = self._watchdog[1], self._status.watchdog_s
        return is_now != math.ceil(wanted) and (wanted, is_now) != self._armed_as

    def _take_armed(self, message: dict[str, Any]) -> None:
        before, timeout = self._armed_as, float(message["timeout"])
        settled = message.get("settled", True)
        self._armed_as = (float(message.get("asked", timeout)), timeout) if settled else None
        if settled and self._armed_as != before:
            self._emit("watchdog_armed", timeout_s=timeout)

    def _warn(self, known: Sequence[str]) -> None:
        for warning in self._status.warnings:
            if warning not in known:
                self._emit("pulse_warned", warning=warning)

    # -- liveness -------------------------------------------------------------------------------

    def _promise(self) -> float:
        configuration = self._configuration
        if configuration is None:
            return 1.0
        return max(1.0, configuration.misses * configuration.interval)

    def _is_alive(self) -> bool:
        """A view with peers' data came within what the pulse promises."""
        fresh = self._clock.now() - self._view.taken_at <= self._promise()
        return fresh and self._status.pid is not None and self._configured.is_set()

    def _notice(self) -> None:
        alive = self._is_alive()
        if alive != self._was_alive:
            self._was_alive = alive
            self._emit("pulse_heard" if alive else "pulse_lost")
            self._bump()

    def _bump(self) -> None:
        self._generation += 1
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _emit(self, name: str, **fields: Any) -> None:
        if self._events is not None:
            self._events.emit(name, **fields)
