"""What this server can tell of its side of a hybrid disk after the store came out of a backup, so
that `decide.settling` can say who has all data.

If nobody has the disk of its server group, no engine tells what is on it: then it is read.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from reconciler.decide.copies import is_unsettled, side_of
from reconciler.decide.shared_sides import at_rest, roles
from reconciler.decide.snapshot import Snapshot
from reconciler.ports.clock import Clock
from reconciler.ports.disks import RestingMirror
from reconciler.ports.host import HostError

AGAIN_S = 5.0

ReadMirror = Callable[[str], Awaitable[RestingMirror]]
"""See `ports.disks.Disks.resting_mirror`."""

Roles = tuple[int, int]


class Seen(NamedTuple):
    """The roles under which it was seen (`MirrorStatus.roles`); what was read from a disk that
    nobody has, or why it could not be read."""

    roles: Roles | None = None
    mirror: RestingMirror | None = None
    problem: str = ""


NOTHING = Seen()


class RestingSides:
    """A disk is read once for each giving of the roles: as long as they stay, so does what is on
    it. One that cannot be read is tried again."""

    def __init__(self, clock: Clock, read: ReadMirror | None) -> None:
        self._clock, self._read = clock, read
        self._found: dict[str, Seen] = {}
        self._failed: dict[str, tuple[float, str]] = {}

    async def look(self, snapshot: Snapshot, name: str, *, engine: bool) -> Seen:
        """NOTHING when there is nothing to settle. `engine`: one runs here; `snapshot` must be
        older than what it said."""
        resource = snapshot.specs.resources.get(name)
        if resource is None or not is_unsettled(snapshot, name):
            self._found.pop(name, None)
            return NOTHING
        group = resource.spec.group
        if engine:
            return Seen(roles(snapshot, group))
        known = at_rest(snapshot, group, snapshot.me)
        disk = resource.spec.shared_disk(side_of(snapshot, resource, snapshot.me) or "")
        if known is None or not disk or self._read is None:
            return NOTHING
        return await self._mirror(self._read, name, disk, known)

    async def _mirror(self, read: ReadMirror, name: str, disk: str, known: Roles) -> Seen:
        if name in self._found and self._found[name].roles == known:
            return self._found[name]
        failed_at, reason = self._failed.get(name, (float("-inf"), ""))
        if self._clock.now() - failed_at < AGAIN_S:
            return Seen(problem=reason)
        try:
            found = await read(disk)
            if found.header.resource != name:
                raise HostError(f"{disk} belongs to mirror {found.header.resource}")
        except HostError as error:
            self._failed[name] = (self._clock.now(), str(error))
            return Seen(problem=str(error))
        self._found[name] = Seen(known, found)
        return self._found[name]
