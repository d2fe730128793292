"""Checks of file systems before a mount, and after one that failed.

Only what loses nothing is repaired without being asked: the journal is replayed, and what e2fsck
calls safe (-p). More takes a person.
"""

from reconciler.adapters.linux.command import run
from reconciler.ports.host import HostError

_BEFORE = dict.fromkeys(("ext2", "ext3", "ext4"), ("e2fsck", "-p"))
_FULL = {kind: (*command, "-f") for kind, command in _BEFORE.items()}
_AFTER = {**_FULL, "xfs": ("xfs_repair",)}
"""xfs and btrfs check themselves when they are mounted; xfs_repair refuses to drop a log."""


async def before_mount(device: str, kind: str, *, full: bool, timeout_s: float) -> None:
    """Quick unless `full`: a clean file system is not read through. Raises `HostError`."""
    command = (_FULL if full else _BEFORE).get(kind)
    if command is not None:
        await _check(command, device, timeout_s)


async def after_failure(device: str, kind: str, timeout_s: float) -> bool:
    """False when there is nothing to try for this kind. Raises `HostError`."""
    command = _AFTER.get(kind)
    if command is None:
        return False
    await _check(command, device, timeout_s)
    return True


async def _check(command: tuple[str, ...], device: str, timeout_s: float) -> None:
    code, output = await run([*command, device], timeout_s)
    if code not in (0, 1):
        raise HostError(f"{command[0]} found errors on {device}: {output}")
