"""Block devices and file systems of this server. `adapters.linux.volumes` implements it."""

from dataclasses import dataclass
from typing import Literal, Protocol

from reconciler.ports.driver import Permit


@dataclass(frozen=True, slots=True)
class FileSystem:
    """How one is checked and mounted. Time-outs in seconds. `full` reads it all, `always` only when
    it says itself that it may be damaged; `repair`: checked, and tried again, if a mount failed."""

    kind: str
    options: str = ""
    check: Literal["never", "always", "full"] = "always"
    repair: bool = False
    check_timeout_s: float = 7200.0
    mount_timeout_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Mounted:
    """One mount of a device. `read_only` is the file system's own word: after an error, too."""

    directory: str
    source: str
    read_only: bool = False


class Volumes(Protocol):
    """Every call ends in bounded time and raises `HostError`, apart from `PermitExpired`."""

    async def attach(
        self, file: str, *, alone: bool = False, offset: int = 0, size: int = 0
    ) -> str:
        """A loop device with direct I/O on the file, such as "/dev/loop3": `size` bytes of it from
        `offset` on (0: all that follow, also when the file grows). It goes by itself when its last
        user is gone. `alone`: refused as long as another one is on the file. A block device is
        taken as it is, and has no parts."""
        ...

    async def detach(self, file: str) -> None:
        """Let go of the loop device that was attached last; fine when there is none."""
        ...

    async def until_free(self, file: str) -> None:
        """Returns when no loop device that was attached `alone` is on the file any more, also if
        the file is gone. Raises `HostError` when one stays."""
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
        """The device that is mounted there, None when none is, or will be."""
        ...

    async def mounts_of(self, device: str) -> tuple[Mounted, ...]:
        """Everywhere that a block device, or a file through a loop device, is mounted, the last
        first; also what others mounted."""
        ...

    async def changed(self) -> None:
        """Returns at the next change of the mount table."""
        ...

    async def unmount(self, directory: str, grace_s: float) -> None:
        """Programs that use it get SIGTERM, after `grace_s` SIGKILL; what is mounted below it goes
        too. Returns when it is gone."""
        ...

    async def unmount_in(self, pid: int, device: str, grace_s: float) -> None:
        """Every mount of the block device in the mount namespace of another process, as far as it
        goes: look again."""
        ...

    async def grow_device(self, device: str, file: str, size: int, permit: Permit) -> bool:
        """A loop device takes up that its file is larger; it has at least `size` bytes then.
        Programs go on using it. False when it had; the permit is checked right before."""
        ...

    async def grow_file_system(
        self, device: str, directory: str, kind: str, permit: Permit
    ) -> bool:
        """What is mounted there takes all of its device; programs go on using it. False when it
        did, and for a kind that cannot. The permit is checked right before."""
        ...

    async def tear_off(self, directory: str) -> None:
        """Take it from the tree although it is in use; for a disk that is gone already."""
        ...
