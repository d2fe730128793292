"""Loop devices over ioctl: made with direct I/O, and so that they go with their last user."""

import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path

_CTL_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A
_AUTOCLEAR, _DIRECT_IO = 4, 16
# struct loop_config: fd, block size, then struct loop_info64 (flags, file name), then reserved
_CONFIG = struct.Struct("<IIQQQQQIIII64s64s32sQQ64x")
_SET_CAPACITY, _BLKGETSIZE64 = 0x4C07, 0x80081272
_MAJOR = 7
_TRIES = 20
_LARGEST_KIB = 1024


def attach(file: str, *, alone: bool = False, offset: int = 0, size: int = 0) -> tuple[str, int]:
    """(device, open descriptor): close the descriptor once somebody else uses the device; when
    nobody does, it goes with that. `alone`: the file is locked as long as the device exists, so
    that no second one gets it. `size` bytes from `offset` on (0: all that follow). Raises
    `OSError`."""
    backing = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        if alone:
            # The lock belongs to the open file, which the device keeps beyond this descriptor.
            fcntl.flock(backing, fcntl.LOCK_EX | fcntl.LOCK_NB)
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        try:
            for _ in range(_TRIES):
                number = fcntl.ioctl(control, _CTL_GET_FREE)
                device = f"/dev/loop{number}"
                opened = os.open(device, os.O_RDWR | os.O_CLOEXEC)
                flags = _AUTOCLEAR | _DIRECT_IO
                name = file.encode()[-63:]
                config = _CONFIG.pack(
                    backing, 0, 0, 0, 0, offset, size, 0, 0, 0, flags, name, b"", b"", 0, 0
                )
                try:
                    fcntl.ioctl(opened, _CONFIGURE, config)
                except OSError as error:
                    os.close(opened)
                    if error.errno != 16:  # EBUSY: somebody else was quicker
                        raise
                    continue
                bound_requests(device)
                return device, opened
        finally:
            os.close(control)
    finally:
        os.close(backing)
    raise OSError(16, "no free loop device", file)


def is_held(file: str) -> bool:
    """Whether a device that was attached `alone` is on the file. Raises `OSError`, but not for a
    file that is gone: no other server finds it either."""
    try:
        opened = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(opened)
    return False


def bound_requests(device: str) -> None:
    """FUSE takes 1 MiB at once; the kernel's own 1280 KiB would always become two requests. Only a
    matter of speed: fine where it cannot be set."""
    with suppress(OSError):
        Path(f"/sys/block/{Path(device).name}/queue/max_sectors_kb").write_text(str(_LARGEST_KIB))


def grow(device: str, file: str) -> int:
    """Bytes of the device, after it took up that its file has grown. What uses it goes on. Raises
    `OSError`."""
    Path(file).stat()  # the kernel asks who serves the file how large it is
    opened = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.major(os.fstat(opened).st_rdev) == _MAJOR:
            fcntl.ioctl(opened, _SET_CAPACITY)
    finally:
        os.close(opened)
    return size_of(device)


def size_of(device: str) -> int:
    """Bytes of a block device. Raises `OSError`."""
    opened = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int.from_bytes(fcntl.ioctl(opened, _BLKGETSIZE64, bytes(8)), "little")
    finally:
        os.close(opened)
