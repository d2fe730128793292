"""The right of this server to a disk that several see: claimed, reserved, looked after, given up.

What `shared-disk` and `hybrid-disk` have in common. What a resource holds here is noted as a claim
before its first step and forgotten after everything was seen gone.
"""

from dataclasses import dataclass, replace

from reconciler.plugin import Place
from reconciler.ports.disks import Claim, DiskView
from reconciler.ports.driver import Permit, PermitExpired, ResourceError
from reconciler.ports.host import DiskGone, HostError

LOOK_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class SharedAccess:
    """One disk as a spec names it: `device`, or a file. `key` names the resource in reservations;
    `grace_s` is what users of the disk have to end."""

    key: str
    disk: str
    is_device: bool
    reserve: bool
    grace_s: float

    async def lost(self, place: Place, claim: Claim) -> str:
        """Why the disk does not keep others out any more; "" if it does, or never did."""
        if not claim.reserved:
            return ""
        return await place.host.disks.reserved(claim.device, self.key, claim.epoch)

    async def look(self, place: Place, *, ours: bool) -> DiskView | None:
        """None for a file. Raises `ResourceError` when the disk is used here in any other way."""
        if not self.is_device:
            return None
        view = await place.host.disks.look(self.disk)
        if view.uses:
            raise ResourceError(f"{self.disk}: {'; '.join(view.uses)}", retry=False)
        if view.taken and not ours:
            raise ResourceError(f"{self.disk} is in use on this server by somebody else")
        return view

    def claim(self, place: Place, epoch: int, directory: str) -> Claim:
        found = Claim(epoch, self.disk, directory, self.reserve)
        place.host.disks.claim(place.name, found)
        return found

    async def take(self, place: Place, permit: Permit, *, ours: bool = False) -> DiskView | None:
        """After `claim`: from now on the disk refuses others, if it can. Nothing is read or written
        before that."""
        disks, reserved = place.host.disks, ""
        if self.is_device and self.reserve:
            reserved = await disks.reserve(self.disk, self.key, permit)
        view = await self.look(place, ours=ours)
        if view is not None:
            # From the look on the node is used, not the name: a link may lead elsewhere by then.
            if reserved and reserved != view.node:
                raise HostError(f"{self.disk} was {reserved} a moment ago, and is {view.node} now")
            claim = disks.claims().get(place.name)
            if claim is not None:
                disks.claim(place.name, replace(claim, node=view.node))
        return view

    async def let_go(self, place: Place, claim: Claim) -> None:
        """Nothing here uses the disk any more. Raises `HostError` when somebody does, or when that
        is not known and no reservation keeps this server from writing."""
        node, problem = claim.node or claim.device, ""
        try:
            view = await self._free(place, node)
        except DiskGone as error:
            problem = str(error)
        except HostError as error:
            if not claim.reserved:
                raise
            # Nothing is mounted any more, and its next owner shuts this one out.
            problem = str(error)
        else:
            if view.taken:
                users = f" (processes {', '.join(map(str, view.foreign))})" if view.foreign else ""
                raise HostError(f"{claim.device} is still in use on this server{users}")
        for device in dict.fromkeys((claim.device, node)) if claim.reserved else ():
            try:
                await place.host.disks.release(device, self.key, claim.epoch)
            except HostError as error:
                problem = problem or str(error)
        if problem:
            place.events.emit("disk_not_released", resource=place.name, reason=problem)

    async def _free(self, place: Place, device: str) -> DiskView:
        """Other mount namespaces (of containers, or of services) may have got the mount, too."""
        view = await place.host.disks.look(device)
        if not view.taken or not view.foreign:
            return view
        for pid in view.foreign:
            await place.host.volumes.unmount_in(pid, view.node, self.grace_s)
        return await place.host.disks.look(device)

    async def keep(self, place: Place, permit: Permit) -> None:
        """Shut out, from time to time, old owners that came back; ends at once where nothing is
        reserved."""
        told = ""
        while self.is_device and self.reserve:
            await place.clock.sleep(LOOK_EVERY_S)
            if not permit.is_valid():
                continue
            try:
                reason = await place.host.disks.hold(self.disk, self.key, permit)
            except (HostError, PermitExpired) as error:
                reason = str(error)
            if reason and reason != told:
                place.events.emit("reservation_in_doubt", resource=place.name, reason=reason)
            told = reason
