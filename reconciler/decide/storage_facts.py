"""What a server says of its disks, part of `ServerFacts`: for the checks of `clusterctl apply`.

Sizes are bytes. Up to five minutes old, so what is missing here may exist.
"""

from pydantic import BaseModel, ConfigDict


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Device(_Fact):
    """One block device by all its names, the kernel's first. `use` says what it is used for by
    others than the cluster; "" for nothing that is known."""

    names: tuple[str, ...]
    size: int = 0
    use: str = ""


class FreeSpace(_Fact):
    """Of the file system that is mounted on this directory."""

    directory: str
    free: int


class StorageFacts(_Fact):
    """`fstab` are the directories that the server mounts by itself at its start."""

    devices: tuple[Device, ...] = ()
    free: tuple[FreeSpace, ...] = ()
    fstab: tuple[str, ...] = ()

    def device(self, name: str) -> Device | None:
        return next((each for each in self.devices if name in each.names), None)

    def free_at(self, path: str) -> int | None:
        """Bytes that are free where this file is or would be; None when nobody knows."""
        inside = [f for f in self.free if path.startswith(f.directory.rstrip("/") + "/")]
        found = max(inside, key=lambda f: len(f.directory), default=None)
        return found.free if found is not None else None
