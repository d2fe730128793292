"""Loop devices and file systems that become larger while they are mounted; used by `volumes`."""

import asyncio
import os
import struct
from collections.abc import Callable
from pathlib import Path

from reconciler.adapters.linux import loop_device
from reconciler.adapters.linux.command import run
from reconciler.ports.driver import Permit
from reconciler.ports.host import HostError

DEVICE_TIMEOUT_S = 20.0
FILE_SYSTEM_TIMEOUT_S = 600.0
"""One that was ended in the middle goes on when it is started again."""

_LOOK = 1 << 17
_BTRFS_AT = 1 << 16
_UNUSED = 64 << 10
"""At the end, which is no whole block of a file system."""


async def grow_device(device: str, file: str, size: int, permit: Permit) -> bool:
    """See `ports.volumes.Volumes`."""
    before = await _asked(device, lambda: loop_device.size_of(device))
    if before >= size:
        return False
    permit.check()
    now = await _asked(device, lambda: loop_device.grow(device, file))
    if now < size:
        raise HostError(f"{device} has {now} bytes, {size} are expected")
    return True


async def grow_file_system(device: str, directory: str, kind: str, permit: Permit) -> bool:
    """See `ports.volumes.Volumes`."""
    command = {
        "ext4": ["resize2fs", device],
        "xfs": ["xfs_growfs", "-d", directory],
        "btrfs": ["btrfs", "filesystem", "resize", "max", directory],
    }.get(kind)
    size = await _asked(device, lambda: loop_device.size_of(device))
    covered = await _asked(device, lambda: file_system_size(Path(device), kind))
    if command is None or covered + _UNUSED > size:
        return False
    before = await _asked(device, lambda: _blocks(directory))
    permit.check()
    code, output = await run(command, FILE_SYSTEM_TIMEOUT_S)
    if code:
        said = " ".join(output.split())
        raise HostError(f"the file system on {directory} does not grow: {said}")
    return await _asked(device, lambda: _blocks(directory)) > before


def file_system_size(device: Path, kind: str) -> int:
    """Bytes that the file system on a device says it has; 0 when that cannot be told."""
    with device.open("rb") as opened:
        head = opened.read(_LOOK)
    try:
        if kind == "ext4" and head[1080:1082] == b"\x53\xef":
            low, shift = struct.unpack_from("<I", head, 1028)[0], head[1048]
            wide = struct.unpack_from("<I", head, 1120)[0] & 0x80
            high = struct.unpack_from("<I", head, 1360)[0] if wide else 0
            return int((high << 32 | low) << (10 + shift))
        if kind == "xfs" and head[:4] == b"XFSB":
            block, count = struct.unpack_from(">IQ", head, 4)
            return int(block * count)
        if kind == "btrfs" and head[_BTRFS_AT + 64 : _BTRFS_AT + 72] == b"_BHRfS_M":
            return int(struct.unpack_from("<Q", head, _BTRFS_AT + 0xC9 + 8)[0])
    except (struct.error, IndexError):
        return 0
    return 0


async def _asked(device: str, look: Callable[[], int]) -> int:
    try:
        async with asyncio.timeout(DEVICE_TIMEOUT_S):
            return await asyncio.to_thread(look)
    except TimeoutError:
        raise HostError(f"{device} does not answer") from None
    except OSError as error:
        raise HostError(f"{device}: {error.strerror or error}") from error


def _blocks(directory: str) -> int:
    found = os.statvfs(directory)
    return found.f_blocks * found.f_frsize
