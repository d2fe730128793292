"""Loop devices over ioctl: made with direct I/O, and so that they go with their last user."""

import fcntl
import os
import struct

_CTL_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A
_AUTOCLEAR, _DIRECT_IO = 4, 16
# struct loop_config: fd, block size, then struct loop_info64 (flags, file name), then reserved
_CONFIG = struct.Struct("<IIQQQQQIIII64s64s32sQQ64x")
_TRIES = 20


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
                return device, opened
        finally:
            os.close(control)
    finally:
        os.close(backing)
    raise OSError(16, "no free loop device", file)
