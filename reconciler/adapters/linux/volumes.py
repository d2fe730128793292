"""Loop devices, checks and mounts by the usual programs (`ports.volumes.Volumes`)."""

import asyncio
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from reconciler.adapters.linux import file_system_check, growth, loop_device, mount_table
from reconciler.adapters.linux.command import run
from reconciler.ports.driver import Permit
from reconciler.ports.host import HostError
from reconciler.ports.volumes import FileSystem, Mounted

_T = TypeVar("_T")
COMMAND_TIMEOUT_S = 60.0
UNMOUNT_TIMEOUT_S = 30.0
_LOOKERS = ThreadPoolExecutor(4, "mounts")
"""Apart from other threads: a look at a process that hangs may hang, too."""

KILL_LIMIT_S = 3.0
FREE_LIMIT_S, FREE_LOOKS = 5.0, 100
"""A loop device goes a little later than its last user."""

_BLANK = 1 << 20
_MADE = {
    "ext4": ("mkfs.ext4", "-q", "-F"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}


class LinuxVolumes:
    """`_held` keeps a new loop device open until it is mounted: otherwise it would go at once."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, int]] = {}
        self._watch = mount_table.Watch()

    def close(self) -> None:
        """Mounts stay."""
        self._watch.close()

    async def attach(
        self, file: str, *, alone: bool = False, offset: int = 0, size: int = 0
    ) -> str:
        if await asyncio.to_thread(_is_device, file):
            if offset:
                raise HostError(f"{file} is a device: it has no parts here")
            return file
        await self.detach(file)
        try:
            attaching = asyncio.ensure_future(
                asyncio.to_thread(loop_device.attach, file, alone=alone, offset=offset, size=size)
            )
            try:
                self._held[file] = await asyncio.shield(attaching)
            except asyncio.CancelledError:
                attaching.add_done_callback(_close_late)
                raise
        except BlockingIOError as error:
            raise HostError(f"{file} is still in use through another loop device") from error
        except OSError as error:
            raise HostError(f"no loop device for {file}: {error.strerror}") from error
        return self._held[file][0]

    async def detach(self, file: str) -> None:
        held = self._held.pop(file, None)
        if held is not None:
            with suppress(OSError):
                os.close(held[1])

    async def until_free(self, file: str) -> None:
        try:
            for _ in range(FREE_LOOKS):
                if not await asyncio.to_thread(loop_device.is_held, file):
                    return
                await asyncio.sleep(FREE_LIMIT_S / FREE_LOOKS)
        except OSError as error:
            raise HostError(f"{file} cannot be looked at: {error.strerror}") from error
        raise HostError(f"{file} is still in use through a loop device")

    async def is_blank(self, device: str) -> bool:
        try:
            data = await asyncio.to_thread(_first_bytes, device)
        except OSError as error:
            raise HostError(f"{device} cannot be read: {error.strerror}") from error
        return not data.strip(b"\0")

    async def make_file_system(self, device: str, kind: str, permit: Permit) -> None:
        if kind not in _MADE:
            raise HostError(f"{kind} cannot be made here, only {', '.join(sorted(_MADE))}")
        if not await self.is_blank(device):
            raise HostError(f"{device} is not blank: no file system is made on it")
        permit.check()
        code, output = await run([*_MADE[kind], device], COMMAND_TIMEOUT_S)
        if code:
            raise HostError(f"{_MADE[kind][0]} {device}: {output}")

    async def mount(
        self, device: str, directory: str, file_system: FileSystem, permit: Permit
    ) -> None:
        if file_system.check != "never":
            permit.check()
            await file_system_check.before_mount(
                device,
                file_system.kind,
                full=file_system.check == "full",
                timeout_s=file_system.check_timeout_s,
            )
        try:
            await asyncio.to_thread(os.makedirs, directory, exist_ok=True)
        except OSError as error:
            raise HostError(f"{directory} cannot be made: {error.strerror}") from error
        if (real := await _looked(_elsewhere, directory)) is not None:
            # The kernel knows the mount by that name only: under ours nobody would find it.
            raise HostError(f"{directory} leads through a symbolic link: write {real}")
        try:
            await _mount(device, directory, file_system, permit)
        except HostError:
            permit.check()
            limit = file_system.check_timeout_s
            if not file_system.repair or not await file_system_check.after_failure(
                device, file_system.kind, limit
            ):
                raise
            await _mount(device, directory, file_system, permit)
        if not permit.is_valid():
            await self.unmount(directory, 0.0)
            permit.check()

    async def mounted(self, directory: str) -> str | None:
        found = await _looked(mount_table.at, directory)
        if found is None and await _looked(mount_table.under_way, directory):
            raise HostError(f"a mount on {directory} is still under way")
        return found

    async def mounts_of(self, device: str) -> tuple[Mounted, ...]:
        return await _looked(mount_table.of, device)

    async def changed(self) -> None:
        try:
            await self._watch.changed()
        except OSError as error:
            raise HostError(f"mounts cannot be watched: {error.strerror}") from error

    async def unmount(self, directory: str, grace_s: float) -> None:
        """The last mount of several on top of each other goes too, and what is mounted below."""
        while await self.mounted(directory) is not None:
            code, output = await run(["umount", directory], UNMOUNT_TIMEOUT_S)
            if not code:
                continue
            inner = await _looked(mount_table.below, directory)
            if inner:
                await self.unmount(inner[0], grace_s)
            elif not await self._end_users(directory, grace_s):
                raise HostError(f"{directory} cannot be unmounted: {output}")

    async def unmount_in(self, pid: int, device: str, grace_s: float) -> None:
        for directory in await _looked(lambda of: mount_table.inside(pid, of), device):
            command = ["nsenter", f"--target={pid}", "--mount", "umount", directory]
            code, _ = await run(command, UNMOUNT_TIMEOUT_S)
            if code and await self._end_users(directory, grace_s, str(pid)):
                await run(command, UNMOUNT_TIMEOUT_S)

    async def _end_users(self, directory: str, grace_s: float, of: str = "self") -> bool:
        """False when there was nobody to end, or somebody does not go. The directory is what the
        process `of` calls so."""
        users = await _users(directory, of)
        if not users:
            return False
        for number, patience in ((signal.SIGTERM, grace_s), (signal.SIGKILL, KILL_LIMIT_S)):
            for pid in users:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    users = await _until_left(directory, of)
            if not users:
                return True
            users = await _users(directory, of)
        return False

    async def grow_device(self, device: str, file: str, size: int, permit: Permit) -> bool:
        return await growth.grow_device(device, file, size, permit)

    async def grow_file_system(
        self, device: str, directory: str, kind: str, permit: Permit
    ) -> bool:
        return await growth.grow_file_system(device, directory, kind, permit)

    async def tear_off(self, directory: str) -> None:
        while await self.mounted(directory) is not None:
            code, output = await run(["umount", "-l", directory], UNMOUNT_TIMEOUT_S)
            if code:
                raise HostError(f"{directory} cannot be unmounted: {output}")


def _elsewhere(directory: str) -> str | None:
    real = os.path.realpath(directory)
    return real if real != os.path.normpath(directory) else None


def _close_late(attaching: "asyncio.Future[tuple[str, int]]") -> None:
    """Nobody waits for it any more: without this its device, and its lock, would stay for ever."""
    if not attaching.cancelled() and attaching.exception() is None:
        os.close(attaching.result()[1])


async def _until_left(directory: str, of: str) -> list[int]:
    while users := await _users(directory, of):
        del users
        await asyncio.sleep(0.05)
    return []


async def _users(directory: str, of: str) -> list[int]:
    return await _looked(lambda at: _listed(at, of), directory)


def _listed(directory: str, of: str) -> list[int]:
    try:
        return list(mount_table.users(directory, of))
    except FileNotFoundError:
        return []  # the process in whose place we look has ended, and its namespace may be gone


async def _looked(look: Callable[[str], _T], what: str) -> _T:
    try:
        return await asyncio.get_running_loop().run_in_executor(_LOOKERS, look, what)
    except OSError as error:
        raise HostError(f"the mount table cannot be read: {error.strerror}") from error


async def _mount(device: str, directory: str, file_system: FileSystem, permit: Permit) -> None:
    command = ["mount", "-t", file_system.kind]
    if file_system.options:
        command += ["-o", file_system.options]
    permit.check()
    code, output = await run([*command, device, directory], file_system.mount_timeout_s)
    if code:
        raise HostError(f"{device} cannot be mounted on {directory}: {output}")


def _is_device(path: str) -> bool:
    return Path(path).is_block_device()


def _first_bytes(device: str) -> bytes:
    with Path(device).open("rb") as opened:
        return opened.read(_BLANK)
