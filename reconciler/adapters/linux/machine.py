"""This server as a machine: its boot id and the ways to end it. The agent makes one."""

import asyncio
import ctypes
import os
import uuid
from pathlib import Path

from reconciler.ports.machine import ResetRefused

_RB_AUTOBOOT = 0x01234567
_RB_POWER_OFF = 0x4321FEDC
_SYSTEM_REQUEST = Path("/proc/sysrq-trigger")
_CRASH_S = 5.0


class LinuxMachine:
    """`boot_id_file` lies in /run, so it is lost with the power. `allow_reset` is given by the
    installed agent only: nothing else, a test least of all, may ever restart its machine."""

    def __init__(self, boot_id_file: Path, *, allow_reset: bool = False) -> None:
        self._allow_reset = allow_reset
        self._boot_id = _read_or_create(boot_id_file)

    def boot_id(self) -> str:
        """Random id made once per power-on (the kernel's own is the same in every namespace)."""
        return self._boot_id

    async def reset(self, reason: str) -> None:
        """Restart at once, without sync and without stopping anything (self-fencing).

        Inside a PID namespace it ends exactly that namespace. Raises `ResetRefused`.
        """
        self._end(_RB_AUTOBOOT, reason)

    async def power_off(self, reason: str) -> None:
        """Switch off at once; as `reset` otherwise."""
        self._end(_RB_POWER_OFF, reason)

    async def crash(self, reason: str) -> None:
        """Panic; raises `ResetRefused` when this kernel does not obey its system request key."""
        self._check(reason)
        try:
            descriptor = os.open(_SYSTEM_REQUEST, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ResetRefused(f"{_SYSTEM_REQUEST}: {error.strerror}") from None
        try:
            os.write(descriptor, b"c")
        except OSError as error:
            raise ResetRefused(f"{_SYSTEM_REQUEST}: {error.strerror}") from None
        finally:
            os.close(descriptor)
        await asyncio.sleep(_CRASH_S)
        raise ResetRefused(f"{_SYSTEM_REQUEST} was told to crash the kernel, and it did not")

    def _check(self, reason: str) -> None:
        if not self._allow_reset:
            raise ResetRefused(f"reset is not allowed to this process (wanted because: {reason})")

    def _end(self, command: int, reason: str) -> None:
        self._check(reason)
        library = ctypes.CDLL(None, use_errno=True)
        library.reboot(ctypes.c_int(command - (1 << 32) if command >> 31 else command))
        error = ctypes.get_errno()  # what works does not return
        raise ResetRefused(f"the kernel refused: {os.strerror(error)}")


def _read_or_create(path: Path) -> str:
    """The id in `path`; made there first, whole or not at all, when there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{uuid.uuid4()}\n")
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass  # somebody was quicker: theirs counts
        finally:
            temporary.unlink()
    boot_id = path.read_text(encoding="ascii").strip()
    if not boot_id:
        raise ValueError(f"{path} is empty: remove it, a new boot id is made then")
    return boot_id
