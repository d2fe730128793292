"""A heartbeat path over a shared block device: each server writes its slot, reads the others'.

A disk may hang for minutes, and the pulse's loop waits for nothing: one thread of its own does the
reading and writing. What it reads arrives through a socket pair. A slot counts as heard when its
bytes have changed, at the time *before* they were read.
"""

import contextlib
import errno
import mmap
import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator

from reconciler.pulse.disk_layout import BLOCK, SLOT, owner_of, pack, slot_offset, unpack
from reconciler.pulse.mailbox import Mailbox
from reconciler.pulse.settings import DiskSettings

_QUEUE = 4096
_AGAIN_S = 5.0
_ROUNDS = 3


class DiskPath:
    """`problem` is why the device cannot be used now, "" when it can. Only the thread touches the
    device: opening it may hang as well."""

    def __init__(self, name: str, settings: DiskSettings, cluster: str) -> None:
        self.name, self.settings = name, settings
        self.errors: Counter[str] = Counter()
        self.problem = ""
        self.mailbox = (
            Mailbox(settings.server, settings.slot, settings.patience)
            if settings.patience > 0
            else None
        )
        self._cluster = cluster
        self._outgoing: dict[str, bytes] = {}
        self._arrived: deque[tuple[bytes, float]] = deque(maxlen=_QUEUE)
        self._signal, self._wake = socket.socketpair()
        self._signal.setblocking(False)
        self._wake.setblocking(False)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"disk {name}", daemon=True)
        self._thread.start()

    # -- the loop's side ------------------------------------------------------------------------

    def fileno(self) -> int:
        return self._wake.fileno()

    def send(self, peer: str, datagram: bytes) -> None:
        """The newest heartbeat for each peer waits for the thread's next round."""
        self._outgoing[peer] = datagram

    def drain(self, now: float, realtime: float) -> Iterator[tuple[bytes, float]]:
        """Everything that was read before `now`; `realtime` is not needed."""
        del realtime
        with contextlib.suppress(BlockingIOError):
            while self._wake.recv(BLOCK):
                pass
        while self._arrived and self._arrived[0][1] <= now:
            yield self._arrived.popleft()

    def close(self) -> None:
        """Returns at once; a thread that hangs in the disk ends when the disk answers."""
        self._closed.set()
        self._thread.join(timeout=2 * self.settings.interval)
        if not self._thread.is_alive():
            self._wake.close()
            self._signal.close()

    # -- the thread's side ----------------------------------------------------------------------

    def _work(self) -> None:
        while not self._closed.wait(self.settings.interval):
            try:
                descriptor = self._opened()
            except (OSError, ValueError) as error:
                self.problem = str(error)
                self._closed.wait(_AGAIN_S)
                continue
            try:
                self.problem = ""
                self._beat(descriptor)
            except (OSError, ValueError) as error:
                self.problem = str(error)
                code = error.errno if isinstance(error, OSError) else None
                self.errors[errno.errorcode.get(code or 0, "other")] += 1
            finally:
                os.close(descriptor)

    def _opened(self) -> int:
        """With O_DIRECT: what is read comes from the disk, not from this server's memory. Raises
        `OSError`, or `ValueError` for a device that was not prepared for the cluster."""
        device = self.settings.device
        descriptor = os.open(device, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
        try:
            block = mmap.mmap(-1, BLOCK)
            os.preadv(descriptor, [block], 0)
            found = owner_of(block[:])
            if found is None:
                raise ValueError(f"{device} is not a heartbeat disk")
            if found != self._cluster:
                raise ValueError(f"{device} is a heartbeat disk of cluster {found}")
        except (OSError, ValueError):
            os.close(descriptor)
            raise
        return descriptor

    def _beat(self, descriptor: int) -> None:
        """Write and read in turns until closed. Raises `OSError` when the device fails."""
        buffer, known = mmap.mmap(-1, SLOT), dict[int, bytes]()
        # More often than the interval: what is written just after a round must not wait for two.
        while not self._closed.wait(self.settings.interval / _ROUNDS):
            if self._outgoing:
                newest = sorted(self._outgoing.copy().items())
                buffer[:] = pack([datagram for _, datagram in newest])
                os.pwritev(descriptor, [buffer], slot_offset(self.settings.slot))
            if self.mailbox is not None:
                self.mailbox.visit(descriptor)
            for number in self.settings.others:
                self._read(descriptor, number, buffer, known)

    def _read(
        self, descriptor: int, number: int, buffer: mmap.mmap, known: dict[int, bytes]
    ) -> None:
        at = time.monotonic()
        os.preadv(descriptor, [buffer], slot_offset(number))
        content = buffer[:]
        if known.get(number) == content:
            return
        first, known[number] = number not in known, content
        if first:
            return  # of any age
        for datagram in unpack(content):
            self._arrived.append((datagram, at))
        with contextlib.suppress(BlockingIOError):
            self._signal.send(b"\0")
