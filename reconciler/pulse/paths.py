"""All heartbeat paths of one pulse: opens and closes them as configured. `process` uses it."""

import selectors
import time
from collections.abc import Iterator, Mapping

from reconciler.pulse.disk_path import DiskPath
from reconciler.pulse.mailbox import Mailbox
from reconciler.pulse.path import HeartbeatPath
from reconciler.pulse.serial_path import SerialPath
from reconciler.pulse.settings import AnyPath, DiskSettings, SerialSettings

AnyHeartbeatPath = HeartbeatPath | SerialPath | DiskPath
_SLACK_S = 0.002  # a tick that comes a little early still counts


class Paths:
    """Iterates over the open ones. `selector` learns of each."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._open: dict[str, AnyHeartbeatPath] = {}
        self._leaving: dict[str, DiskPath] = {}  # not wanted; its promise is not taken back yet
        self._taken_back: list[str] = []
        self._slow_at: dict[str, float] = {}
        self._listening = True

    def __iter__(self) -> Iterator[AnyHeartbeatPath]:
        return iter(tuple(self._open.values()))

    def bind(self, wanted: Mapping[str, AnyPath], cluster: str) -> dict[str, str]:
        """Open what is wanted and not open, close what is not wanted. Returns what is wrong with
        which path; call it again now and then."""
        for name, disk in tuple(self._leaving.items()):
            if disk.mailbox is None or not disk.mailbox.promised_s:
                disk.close()
                del self._leaving[name]
                self._taken_back.append(name)
        for name, path in tuple(self._open.items()):
            if wanted.get(name) != path.settings:
                if self._wakes(path):
                    self._selector.unregister(path)
                del self._open[name]
                self._leave(name, path)
        problems: dict[str, str] = {}
        for name, settings in wanted.items():
            if name in self._leaving:
                problems[name] = "its mailbox still promises what was wanted before"
                continue
            if name not in self._open:
                try:
                    path = _opened(name, settings, cluster)
                except (OSError, ValueError) as error:
                    problems[name] = str(error)
                    continue
                self._open[name] = path
                if self._wakes(path):
                    self._selector.register(path, selectors.EVENT_READ)
            if problem := self._open[name].problem:
                problems[name] = problem
        return problems

    def _leave(self, name: str, path: AnyHeartbeatPath) -> None:
        """Others may count on what its mailbox says, so it is kept until that is taken back."""
        mailbox = path.mailbox if isinstance(path, DiskPath) else None
        if isinstance(path, DiskPath) and mailbox and (mailbox.wanted_s or mailbox.promised_s):
            mailbox.retracting = True
            self._leaving[name] = path
            return
        path.close()

    def listen(self, *, wanted: bool) -> None:
        """Whether a datagram wakes the process, which costs more than it brings while all is well.
        A serial line always does: the kernel keeps little of it."""
        if wanted is self._listening:
            return
        network = [path for path in self._open.values() if isinstance(path, HeartbeatPath)]
        for path in network:
            if wanted:
                self._selector.register(path, selectors.EVENT_READ)
            else:
                self._selector.unregister(path)
        self._listening = wanted

    def _wakes(self, path: AnyHeartbeatPath) -> bool:
        return self._listening or not isinstance(path, HeartbeatPath)

    def due(self, now: float) -> Iterator[AnyHeartbeatPath]:
        """Those that take a heartbeat now. A serial line is slow: one in its own interval. A disk
        takes the newest whenever its thread comes round."""
        for name, path in self._open.items():
            if isinstance(path, SerialPath):
                if now < self._slow_at.get(name, 0.0):
                    continue
                self._slow_at[name] = now + path.settings.interval - _SLACK_S
            yield path

    def mailboxes(self) -> Iterator[tuple[str, Mailbox]]:
        """Of the disks that have one, by the path's name; also of those that are being closed."""
        for name, path in (*self._leaving.items(), *self._open.items()):
            if isinstance(path, DiskPath) and path.mailbox is not None:
                yield name, path.mailbox

    def taken_back(self) -> list[str]:
        """Names of those whose mailboxes promise nothing any more, since this was asked last."""
        names, self._taken_back = self._taken_back, []
        return names

    def retract(self, timeout_s: float) -> bool:
        """Take the promises of all mailboxes back, which may need the disks: False if one did not
        answer in time. For an orderly end only: it blocks."""
        boxes = tuple(box for _, box in self.mailboxes())
        for mailbox in boxes:
            mailbox.retracting = True
        end = time.monotonic() + timeout_s
        while any(mailbox.promised_s for mailbox in boxes):
            if time.monotonic() > end:
                return False
            time.sleep(_SLACK_S)
        return True

    def close(self) -> None:
        for path in (*self, *self._leaving.values()):
            path.close()


def _opened(name: str, settings: AnyPath, cluster: str) -> AnyHeartbeatPath:
    if isinstance(settings, DiskSettings):
        return DiskPath(name, settings, cluster)
    if isinstance(settings, SerialSettings):
        return SerialPath(name, settings)
    return HeartbeatPath(name, settings)
