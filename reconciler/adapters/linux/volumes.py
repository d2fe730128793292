"""Loop devices, checks and mounts by the usual programs (`ports.volumes.Volumes`)."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from reconciler.adapters.linux import loop_device
from reconciler.ports.driver import Permit
from reconciler.ports.host import HostError
from reconciler.ports.volumes import FileSystem

COMMAND_TIMEOUT_S = 60.0
UNMOUNT_TIMEOUT_S = 30.0
KILL_LIMIT_S = 3.0
_BLANK = 1 << 20
_CHECKS = {"ext4": ("e2fsck", "-p"), "ext3": ("e2fsck", "-p"), "ext2": ("e2fsck", "-p")}
"""xfs and btrfs check themselves when they are mounted."""

_MADE = {
    "ext4": ("mkfs.ext4", "-q", "-F"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}


class LinuxVolumes:
    """`_held` keeps a new loop device open until it is mounted: otherwise it would go at once."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, int]] = {}

    async def attach(self, file: str) -> str:
        await self.detach(file)
        try:
            self._held[file] = await asyncio.to_thread(loop_device.attach, file)
        except OSError as error:
            raise HostError(f"no loop device for {file}: {error.strerror}") from error
        return self._held[file][0]

    async def detach(self, file: str) -> None:
        held = self._held.pop(file, None)
        if held is not None:
            with suppress(OSError):
                os.close(held[1])

    async def is_blank(self, device: str) -> bool:
        try:
            data = await asyncio.to_thread(_first_bytes, device)
        except OSError as error:
            raise HostError(f"{device} cannot be read: {error.strerror}") from error
        return not data.strip(b"\0")

    async def make_file_system(self, device: str, kind: str, permit: Permit) -> None:
        if kind not in _MADE:
            raise HostError(f"{kind} cannot be made here, only {', '.join(sorted(_MADE))}")
        permit.check()
        code, output = await _run([*_MADE[kind], device], COMMAND_TIMEOUT_S)
        if code:
            raise HostError(f"{_MADE[kind][0]} {device}: {output}")

    async def mount(
        self, device: str, directory: str, file_system: FileSystem, permit: Permit
    ) -> None:
        check = _CHECKS.get(file_system.kind)
        if check is not None and file_system.check == "always":
            permit.check()
            code, output = await _run([*check, device], file_system.check_timeout_s)
            if code not in (0, 1):
                raise HostError(f"{check[0]} found errors on {device}: {output}")
        try:
            await asyncio.to_thread(os.makedirs, directory, exist_ok=True)
        except OSError as error:
            raise HostError(f"{directory} cannot be made: {error.strerror}") from error
        command = ["mount", "-t", file_system.kind]
        if file_system.options:
            command += ["-o", file_system.options]
        permit.check()
        code, output = await _run([*command, device, directory], file_system.mount_timeout_s)
        if code:
            raise HostError(f"{device} cannot be mounted on {directory}: {output}")
        if not permit.is_valid():
            await self.unmount(directory, 0.0)
            permit.check()

    async def mounted(self, directory: str) -> str | None:
        return _mounted(directory)

    async def unmount(self, directory: str, grace_s: float) -> None:
        """The last mount of several on top of each other goes too."""
        while await self.mounted(directory) is not None:
            code, output = await _run(["umount", directory], UNMOUNT_TIMEOUT_S)
            if not code:
                continue
            if not await self._end_users(directory, grace_s):
                raise HostError(f"{directory} cannot be unmounted: {output}")

    async def _end_users(self, directory: str, grace_s: float) -> bool:
        """False when there was nobody to end, or somebody does not go."""
        users = await asyncio.to_thread(_users, directory)
        if not users:
            return False
        for number, patience in ((signal.SIGTERM, grace_s), (signal.SIGKILL, KILL_LIMIT_S)):
            for pid in users:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    users = await _until_left(directory)
            if not users:
                return True
            users = await asyncio.to_thread(_users, directory)
        return False

    async def tear_off(self, directory: str) -> None:
        while await self.mounted(directory) is not None:
            code, output = await _run(["umount", "-l", directory], UNMOUNT_TIMEOUT_S)
            if code:
                raise HostError(f"{directory} cannot be unmounted: {output}")


async def _until_left(directory: str) -> list[int]:
    while users := await asyncio.to_thread(_users, directory):
        del users
        await asyncio.sleep(0.05)
    return []


def _mounted(directory: str) -> str | None:
    """The last of several on top of each other."""
    wanted, found = os.path.normpath(directory), None
    with suppress(OSError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            device, place, *_ = line.split(" ")
            if place.replace("\\040", " ") == wanted:
                found = device
    return found


def _first_bytes(device: str) -> bytes:
    with Path(device).open("rb") as opened:
        return opened.read(_BLANK)


def _users(directory: str) -> list[int]:
    """Processes with a working directory, root, program or open file below it; never our own."""
    found = []
    below = os.path.normpath(directory) + "/"
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in (1, os.getpid()):
            with suppress(OSError):
                links = [entry / "cwd", entry / "root", entry / "exe", *(entry / "fd").iterdir()]
                if any(f"{_target(link)}/".startswith(below) for link in links):
                    found.append(int(entry.name))
    return found


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


async def _run(command: list[str], timeout_s: float) -> tuple[int, str]:
    """(exit code, the end of what it wrote). Raises `HostError`."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        raise HostError(f"{command[0]} cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    except BaseException as error:
        with suppress(ProcessLookupError):
            process.kill()
        if isinstance(error, TimeoutError):
            raise HostError(f"{command[0]} takes longer than {timeout_s:g} s") from None
        raise
    return process.returncode or 0, output.decode(errors="replace").strip()[-300:]
