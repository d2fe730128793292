"""Reads or writes a disk past the caches, or asks it whether it is ready, in a forked child.

A child that waits for a dead disk can't be killed. It is left behind, and as long as it hangs no
other one is started for the same disk: the answer is at once that the disk hangs.
"""

import asyncio
import errno
import json
import mmap
import os
import random
import signal
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from reconciler.disks import device, scsi
from reconciler.probe.answer import Answer, bad, good, unknown

BLOCK = 4096
_CHUNK = 1 << 20
_stuck: dict[tuple[str, str], tuple[int, float]] = {}


async def probe(settings: Mapping[str, Any], timeout_s: float) -> Answer:
    """Settings: action ("write", "read", "ready"), path; bytes and full_is_fault for writing,
    mount (nothing is written unless something is mounted there), minimum (paths) for "ready"."""
    what = (str(settings["action"]), str(settings["path"]))
    if what in _stuck:
        pid, since = _stuck[what]
        if not _is_over(pid):
            return bad(f"I/O has been hanging for {time.monotonic() - since:.0f} s")
        del _stuck[what]
    began = time.monotonic()
    result, pid = _fork(settings)
    said = bytearray()
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_reader(result, _read, result, said, ended)
    try:
        async with asyncio.timeout(timeout_s):
            await ended
    except TimeoutError:
        return bad(f"no answer of the disk within {timeout_s:g} s")
    finally:
        asyncio.get_running_loop().remove_reader(result)
        os.close(result)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if not await _reaped(pid):
            _stuck[what] = (pid, began)
    if not said:
        return unknown("the process that looks at the disk was killed")
    answer: Answer = json.loads(said)
    return answer


def _read(result: int, said: bytearray, ended: "asyncio.Future[None]") -> None:
    data = os.read(result, 65536)
    if data:
        said += data
    elif not ended.done():
        ended.set_result(None)


async def _reaped(pid: int) -> bool:
    """A killed process is gone in no time, unless it waits for a disk."""
    for _ in range(20):
        if _is_over(pid):
            return True
        await asyncio.sleep(0.005)
    return False


def _is_over(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        return True


def _fork(settings: Mapping[str, Any]) -> tuple[int, int]:
    """(where the child answers, its pid)."""
    result, answer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _child(settings, answer)
    os.close(answer)
    os.set_blocking(result, False)
    return result, pid


def _child(settings: Mapping[str, Any], answer: int) -> NoReturn:
    """From here on another process, which never returns to the event loop."""
    try:
        signal.set_wakeup_fd(-1)
        os.closerange(3, answer)
        os.closerange(answer + 1, 1 << 16)
        actions: Mapping[str, Callable[[Mapping[str, Any]], Answer]] = {
            "write": write,
            "read": read,
            "ready": ready,
        }
        said = actions[str(settings["action"])](settings)
    except OSError as error:
        said = bad(f"{settings['path']}: {error.strerror}")
    except BaseException as error:  # noqa: BLE001 - this process must end here in any case
        said = unknown(f"{type(error).__name__}: {error}")
    with suppress(BaseException):
        os.write(answer, json.dumps(said).encode())
    os._exit(0)


def write(settings: Mapping[str, Any]) -> Answer:
    """Write a file, read it back, compare. Raises `OSError`."""
    path, size = str(settings["path"]), int(settings["bytes"])
    mount = settings.get("mount")
    if mount and not os.path.ismount(str(mount)):
        return bad(f"nothing is mounted on {mount}")
    descriptor, direct = _open(path, os.O_RDWR | os.O_CREAT | os.O_DSYNC | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return bad(f"{path} is not a file")
        pattern = os.urandom(BLOCK)
        buffer = _buffer(min(size, _CHUNK))
        for at in range(0, len(buffer), BLOCK):
            buffer[at : at + BLOCK] = pattern
        try:
            _each(size, len(buffer), lambda at, view: os.pwritev(descriptor, [view], at), buffer)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or settings["full_is_fault"]:
                raise
            return good("the disk is full")
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        found = _buffer(len(buffer))

        def compare(at: int, view: memoryview) -> int:
            count = os.preadv(descriptor, [view], at)
            if view[:count] != memoryview(buffer)[:count]:
                raise OSError(errno.EIO, "what was read is not what was written")
            return count

        _each(size, len(found), compare, found)
    finally:
        os.close(descriptor)
    how = "" if direct else " (no direct I/O there: what was read may come from memory)"
    return good(f"{size} bytes written and read{how}")


def read(settings: Mapping[str, Any]) -> Answer:
    """Read from somewhere on a device. Raises `OSError`."""
    path, wanted = str(settings["path"]), int(settings["bytes"])
    descriptor, direct = _open(path, os.O_RDONLY)
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)
        count = min(wanted, size // BLOCK * BLOCK)
        if not count:
            return bad(f"{path} has no {BLOCK} bytes")
        first = random.randrange((size - count) // BLOCK + 1) * BLOCK  # noqa: S311 - any place
        buffer = _buffer(min(count, _CHUNK))
        step = len(buffer)
        _each(count, step, lambda at, view: os.preadv(descriptor, [view], first + at), buffer)
    finally:
        os.close(descriptor)
    return good(f"{count} bytes read{'' if direct else ' (no direct I/O there)'}")


def ready(settings: Mapping[str, Any]) -> Answer:
    """SCSI TEST UNIT READY on every path of a device. Raises `OSError`."""
    try:
        paths = [
            path for unit in device.units(device.node_of(str(settings["path"]))) for path in unit
        ]
        answers = {path: scsi.patient(scsi.Device(path), scsi.TEST_UNIT_READY) for path in paths}
    except device.Unusable as error:
        return bad(str(error))
    except scsi.NoScsi as error:
        return unknown(str(error))
    return judge(answers, int(settings["minimum"]))


def judge(answers: Mapping[str, scsi.Answer], minimum: int) -> Answer:
    """A reservation of another server is no fault of the disk."""
    fine = [p for p, said in answers.items() if said.is_good or said.status == scsi.CONFLICT]
    told = "; ".join(f"{path}: {said}" for path, said in answers.items() if path not in fine)
    text = f"{len(fine)} of {len(answers)} paths are ready"
    if len(fine) >= minimum:
        return good(text, told)
    return bad(f"{text}, {minimum} wanted{told and '; '}{told}", told)


def _open(path: str, flags: int) -> tuple[int, bool]:
    """(descriptor, whether it passes the cache)."""
    try:
        return os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC, 0o600), True
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return os.open(path, flags | os.O_CLOEXEC, 0o600), False


def _buffer(size: int) -> mmap.mmap:
    """Aligned, as direct I/O wants it."""
    return mmap.mmap(-1, size)


def _each(size: int, step: int, act: Callable[[int, memoryview], int], buffer: mmap.mmap) -> None:
    """Raises `OSError` for what the disk did only in part, too."""
    with memoryview(buffer) as whole:
        for at in range(0, size, step):
            with whole[: min(step, size - at)] as part:
                if act(at, part) != len(part):
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
