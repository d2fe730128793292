"""A heartbeat path over a serial line between two servers.

Frames are separated by 0x7E, with 0x7D as escape (as in HDLC): a receiver that starts in the
middle, or loses bytes, is in step again at the next frame. Damage is found by the
heartbeat's own signature.
"""

import errno
import os
import termios
from collections import Counter
from collections.abc import Iterator

from reconciler.pulse.packet import MAX_DATAGRAM
from reconciler.pulse.settings import SerialSettings

_FLAG, _ESCAPE, _FLIP = 0x7E, 0x7D, 0x20
_READ = 65536
_SPEEDS = {
    9600: termios.B9600,
    19200: termios.B19200,
    38400: termios.B38400,
    57600: termios.B57600,
    115200: termios.B115200,
    230400: termios.B230400,
    460800: termios.B460800,
    921600: termios.B921600,
}


class SerialPath:
    """Never blocks: what the line cannot take now is dropped whole and counted."""

    def __init__(self, name: str, settings: SerialSettings) -> None:
        """Raises `OSError`, or `ValueError` for something that is no terminal."""
        self.name, self.settings = name, settings
        self.errors: Counter[str] = Counter()
        self.problem = ""
        self._partial = bytearray()
        flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
        self._descriptor = os.open(settings.device, flags)
        try:
            _make_raw(self._descriptor, _SPEEDS[settings.speed])
        except termios.error as error:
            os.close(self._descriptor)
            raise ValueError(f"{settings.device} is no serial line: {error}") from None

    def fileno(self) -> int:
        return self._descriptor

    def send(self, peer: str, datagram: bytes) -> None:
        """`peer` is the only one at the other end."""
        del peer
        try:
            frame = encode(datagram)
            if os.write(self._descriptor, frame) < len(frame):
                self.errors["truncated"] += 1
        except OSError as error:
            self.errors[errno.errorcode.get(error.errno or 0, "other")] += 1

    def drain(self, now: float, realtime: float) -> Iterator[tuple[bytes, float]]:
        """All whole frames that are here; a serial line has no receive times, so: at `now`."""
        del realtime
        try:
            data = os.read(self._descriptor, _READ)
        except BlockingIOError:
            return
        except OSError as error:
            self.errors[errno.errorcode.get(error.errno or 0, "other")] += 1
            return
        for datagram in decode(self._partial, data):
            yield datagram, now

    def close(self) -> None:
        os.close(self._descriptor)


def encode(datagram: bytes) -> bytes:
    """One frame."""
    frame = bytearray([_FLAG])
    for byte in datagram:
        if byte in (_FLAG, _ESCAPE):
            frame += bytes([_ESCAPE, byte ^ _FLIP])
        else:
            frame.append(byte)
    frame.append(_FLAG)
    return bytes(frame)


def decode(partial: bytearray, data: bytes) -> list[bytes]:
    """Whole frames in `data` after what `partial` holds; the rest is left in `partial`."""
    partial += data
    *frames, rest = bytes(partial).split(bytes([_FLAG]))
    partial[:] = rest if len(rest) <= 2 * MAX_DATAGRAM else b""
    return [_unescape(frame) for frame in frames if frame]


def _unescape(frame: bytes) -> bytes:
    found, escaped = bytearray(), False
    for byte in frame:
        if escaped:
            found.append(byte ^ _FLIP)
            escaped = False
        elif byte == _ESCAPE:
            escaped = True
        else:
            found.append(byte)
    return bytes(found)


def _make_raw(descriptor: int, speed: int) -> None:
    settings = termios.tcgetattr(descriptor)
    control = list(settings[6])
    control[termios.VMIN], control[termios.VTIME] = b"\0", b"\0"
    flags = termios.CS8 | termios.CREAD | termios.CLOCAL
    raw: list[int | list[bytes | int]] = [0, 0, flags, 0, speed, speed, control]
    termios.tcsetattr(descriptor, termios.TCSANOW, raw)
    termios.tcflush(descriptor, termios.TCIOFLUSH)
