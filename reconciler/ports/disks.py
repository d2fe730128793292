"""Disks that several servers see: who may use one now. `adapters.linux.disks` implements it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from reconciler.mirror.header import Header
from reconciler.ports.driver import Permit


@dataclass(frozen=True, slots=True)
class Claim:
    """What a resource may hold of a disk on this server: noted before its first step, forgotten
    after everything was seen gone. `directory` is empty without a file system. `node` is what the
    device's name meant when it was taken; "" before that."""

    epoch: int
    device: str
    directory: str
    reserved: bool
    node: str = ""

    @property
    def is_device(self) -> bool:
        """Of the claim, not of a spec: that may name another disk by now."""
        return self.device.startswith("/dev/")


@dataclass(frozen=True, slots=True)
class DiskView:
    """`uses` are reasons why it must not be used here. `taken`: some exclusive user has it open (a
    mounted file system, in whatever mount namespace); `foreign` are processes of other mount
    namespaces that it is mounted in. `mounts` counts those since the last full check (ext4)."""

    node: str
    uses: tuple[str, ...] = ()
    taken: bool = False
    paths: int = 1
    mounts: int | None = None
    foreign: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RestingMirror:
    """What a mirror knows of itself on a disk that nobody uses; `to_copy` bytes may be missing on
    its other side."""

    header: Header
    to_copy: int = 0


class Disks(Protocol):
    """Every call ends in bounded time, also with a dead disk, and raises `HostError`, apart from
    `PermitExpired`."""

    def claims(self) -> Mapping[str, Claim]:
        """By resource, whichever agent noted them."""
        ...

    def claim(self, resource: str, claim: Claim) -> None: ...

    def disclaim(self, resource: str) -> None: ...

    async def look(self, device: str) -> DiskView:
        """Changes nothing. Raises `DiskGone` when there is no such device, `HostError` when nothing
        is known of it."""
        ...

    def paths(self, device: str) -> tuple[int, int]:
        """(how many work, how many there are), as it was seen when the disk was last asked
        anything; (0, 0) when it never was."""
        ...

    async def resting_mirror(self, disk: str) -> RestingMirror:
        """Of a shared disk, a file or a device, that no server uses now. Changes nothing."""
        ...

    async def reserve(self, device: str, resource: str, permit: Permit) -> str:
        """From now on the disk refuses writes of every other server; what they had under way is
        aborted. Refused when a newer epoch, or somebody else, has it. The permit is checked right
        before and after. Returns the node that the name meant."""
        ...

    async def reserved(self, device: str, resource: str, epoch: int) -> str:
        """Why the reservation does not keep others out any more; "" when it does. Changes
        nothing."""
        ...

    async def hold(self, device: str, resource: str, permit: Permit) -> str:
        """Shut out old owners that came back since. Answers as `reserved`; never lets this server
        itself in again."""
        ...

    async def release(self, device: str, resource: str, epoch: int) -> None:
        """Give the reservation of that epoch up; fine when it is gone."""
        ...


class ConsentRefused(Exception):
    """The consent to make a file system cannot be used; one sentence."""


class Consents(Protocol):
    """`run/consents/<resource>`: each consent is good for one file system."""

    async def use(self, resource: str, group: str, epoch: int, consent: str) -> None:
        """Note for good that it was used. Compared in the same transaction: this server owns the
        group at `epoch`. Raises `ConsentRefused`, also when it was used before."""
        ...


class NoConsents:
    """Where no store is: nothing can be formatted."""

    async def use(self, resource: str, group: str, epoch: int, consent: str) -> None:  # noqa: ARG002
        raise ConsentRefused(f"there is no store to note the consent of {resource} in")
