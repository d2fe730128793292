"""One heartbeat path: a UDP socket on one network, with kernel receive times."""

import errno
import ipaddress
import socket
import struct
from collections import Counter
from collections.abc import Iterator

from reconciler.pulse.packet import MAX_DATAGRAM
from reconciler.pulse.settings import PathSettings

_SO_TIMESTAMPNS = 35
_IP_FREEBIND = 15
_IPV6_FREEBIND = 78
_CLASS_SELECTOR_6 = 0xC0  # network control: switches that care send heartbeats first
_RECEIVE_BUFFER = 1 << 20
_ANCILLARY = socket.CMSG_SPACE(16)


class HeartbeatPath:
    """Bound to our own address of one network, even before that address exists."""

    def __init__(self, name: str, settings: PathSettings) -> None:
        """Raises `OSError` when the port is taken."""
        self.name = name
        self.settings = settings
        self.errors: Counter[str] = Counter()
        self.problem = ""
        self._drained_at = 0.0
        version = ipaddress.ip_address(settings.address).version
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._prepare(version)
            self._socket.bind((settings.address, settings.port))
        except OSError:
            self._socket.close()
            raise

    def _prepare(self, version: int) -> None:
        sock = self._socket
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if version == 4:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _CLASS_SELECTOR_6)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _CLASS_SELECTOR_6)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, peer: str, datagram: bytes) -> None:
        """Send to one peer; a network that is away is counted, never raised."""
        try:
            self._socket.sendto(datagram, self.settings.peers[peer])
        except OSError as error:
            self.errors[errno.errorcode.get(error.errno or 0, "other")] += 1

    def drain(self, now: float, realtime: float) -> Iterator[tuple[bytes, float]]:
        """Everything that arrived before `now`, each with its arrival on CLOCK_MONOTONIC.

        `realtime` is CLOCK_REALTIME at `now`. Ends at the first datagram that arrived later, so a
        flood cannot hold it.
        """
        since, self._drained_at = self._drained_at, now
        while True:
            try:
                datagram, ancillary, _, _ = self._socket.recvmsg(MAX_DATAGRAM, _ANCILLARY)
            except BlockingIOError:
                return
            except OSError as error:
                self.errors[errno.errorcode.get(error.errno or 0, "other")] += 1
                return
            stamp = _stamp(ancillary)
            yield datagram, arrival(stamp, now, realtime, since)
            if stamp is not None and stamp > realtime:
                return

    def close(self) -> None:
        self._socket.close()


def arrival(stamp: float | None, now: float, realtime: float, since: float) -> float:
    """Kernel receive time `stamp` (CLOCK_REALTIME) on CLOCK_MONOTONIC.

    Clamped to [previous drain, now]: a wall clock that was set in between must neither make a
    dead peer look alive nor an old heartbeat look new.
    """
    if stamp is None:
        return now
    return min(max(now - (realtime - stamp), since), now)


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> float | None:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) >= 16:
            seconds, nanoseconds = struct.unpack_from("=qq", data)
            return float(seconds) + float(nanoseconds) / 1e9
    return None
