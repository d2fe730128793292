"""Block devices and file systems of this server. `adapters.linux.volumes` implements it."""

from dataclasses import dataclass
from typing import Literal, Protocol

from reconciler.ports.driver import Permit


@dataclass(frozen=True, slots=True)
class FileSystem:
    """How one is checked and mounted. Time-outs in seconds."""

    kind: str
    options: str = ""
    check: Literal["never", "always"] = "always"
    check_timeout_s: float = 7200.0
    mount_timeout_s: float = 120.0


class Volumes(Protocol):
    """Every call ends in bounded time and raises `HostError`, apart from `PermitExpired`."""

    async def attach(self, file: str) -> str:
        """A loop device with direct I/O on the file, such as "/dev/loop3". It goes by itself when
        its last user is gone."""
        ...

    async def detach(self, file: str) -> None:
        """Remove every loop device on the file; fine when there is none."""
        ...

    async def is_blank(self, device: str) -> bool:
        """Whether its first megabyte holds zeros only: nothing anybody could miss."""
        ...

    async def make_file_system(self, device: str, kind: str, permit: Permit) -> None:
        """Destroys what the device holds. The permit is checked right before."""
        ...

    async def mount(
        self, device: str, directory: str, file_system: FileSystem, permit: Permit
    ) -> None:
        """Check, then mount; the permit is checked right before each. The directory is made when it
        is missing."""
        ...

    async def mounted(self, directory: str) -> str | None:
        """The device that is mounted there, None when none is."""
        ...

    async def unmount(self, directory: str, grace_s: float) -> None:
        """Programs that use it get SIGTERM, after `grace_s` SIGKILL. Returns when it is gone."""
        ...

    async def tear_off(self, directory: str) -> None:
        """Take it from the tree although it is in use; for a disk that is gone already."""
        ...
