"""Runs one command; its exit code is the answer, and nothing that it started outlives it.

Each command has a holder, a fork of this process: a subreaper, to which every orphan of the
command comes, in a cgroup of its own where the server allows it. The holder has its own deadline,
so that nothing depends on this process living on.
"""

import asyncio
import os
import select
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

from reconciler.probe.answer import OUTPUT_LIMIT, Answer, bad, good, unknown
from reconciler.runner import cgroup, launch, tree
from reconciler.runner.output import OutputLog

FLOOD_LIMIT = 1024 * 1024
"""A command that writes more has failed: reading on would only cost time."""

KILL_LIMIT_S = 5.0
CGROUP_PREFIX = "clusterctl.probe."
_MARGIN_S = 0.2
_CHUNK = 65536


async def probe(settings: Mapping[str, Any], timeout_s: float) -> Answer:
    """Settings: command, environment, directory, user, success (exit codes), and for scripts log:
    (path, size, older files); what is kept in a log may be of any length."""
    limit = max(timeout_s - _MARGIN_S, timeout_s / 2)
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    result, leash, pid = _fork_holder(settings, limit)
    said = bytearray()
    loop.add_reader(result, _read, result, said, ended)
    try:
        # Not bound by the caller's time: the answer is that the tree is gone.
        await asyncio.shield(ended)
    finally:
        loop.remove_reader(result)
        os.close(result)
        os.close(leash)  # a holder that is still there kills its command now
        await _reap(pid)
    return _judge(bytes(said), settings, timeout_s)


def _judge(said: bytes, settings: Mapping[str, Any], timeout_s: float) -> Answer:
    """The holder says `word number` on one line, then the end of the output."""
    head, _, rest = said.partition(b"\n")
    word, _, number = head.decode(errors="replace").partition(" ")
    output = rest.decode(errors="replace")
    if word == "exited":
        code = int(number)
        if code in settings.get("success", [0]):
            return good(f"exit code {code}", output, code)
        if code < 0:
            return bad(f"ended by signal {-code}", output)
        return bad(f"exit code {code}", output, code)
    if word == "timeout":
        return bad(f"no end within {timeout_s:g} s; all its processes were killed", output)
    if word == "flood":
        return bad(f"it wrote more than {FLOOD_LIMIT} bytes and was killed", output)
    if word == "refused":
        return unknown(number)
    return unknown("the command's holder was killed")


def _read(result: int, said: bytearray, ended: "asyncio.Future[None]") -> None:
    data = os.read(result, _CHUNK)
    if data:
        said += data
    elif not ended.done():
        ended.set_result(None)


async def _reap(pid: int) -> None:
    """The holder kills for a bounded time; one that does not end is killed itself."""
    deadline = time.monotonic() + KILL_LIMIT_S + 2.0
    while os.waitpid(pid, os.WNOHANG) == (0, 0):  # noqa: ASYNC222 - it does not block
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.002)


def _fork_holder(settings: Mapping[str, Any], limit_s: float) -> tuple[int, int, int]:
    """(where the holder answers, what keeps it going while it is open, its pid)."""
    result, answer = os.pipe2(os.O_CLOEXEC)
    watched, leash = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(result)
        os.close(leash)
        _hold(settings, limit_s, answer, watched)
    os.close(answer)
    os.close(watched)
    os.set_blocking(result, False)
    return result, leash, pid


def _hold(settings: Mapping[str, Any], limit_s: float, answer: int, watched: int) -> NoReturn:
    """The holder: from here on another process, which never returns to the event loop."""
    place: str | None = None
    try:
        deadline = time.monotonic() + limit_s
        signal.set_wakeup_fd(-1)
        _close_all_but(answer, watched)
        launch.become_subreaper()
        place = cgroup.create(f"{CGROUP_PREFIX}{os.getpid()}")
        verdict, output = _run(settings, deadline, watched, place)
    except BaseException as error:  # noqa: BLE001 - this process must end here in any case
        verdict, output = f"refused {error}".replace("\n", " "), b""
    with suppress(BaseException):
        _kill_all(place)
        os.write(answer, verdict.encode() + b"\n" + output[-OUTPUT_LIMIT:])
    os._exit(0)


def _close_all_but(*kept: int) -> None:
    """An open copy of another command's leash would keep that command alive."""
    last = 2
    for number in sorted(kept):
        os.closerange(last + 1, number)
        last = number
    os.closerange(last + 1, 1 << 16)


def _run(
    settings: Mapping[str, Any], deadline: float, watched: int, place: str | None
) -> tuple[str, bytes]:
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(write, True)
    user = settings.get("user")
    log = _open_log(settings)
    pid = launch.launch(
        [str(word) for word in settings["command"]],
        dict(settings.get("environment") or {}),
        str(settings.get("directory") or "/"),
        launch.identity(str(user) if user else None, None),
        write,
        place,
    )
    os.close(write)
    child = os.pidfd_open(pid)
    output, total = b"", 0
    waited = [child, read, watched]
    while True:
        ready, _, _ = select.select(waited, [], [], max(0.0, deadline - time.monotonic()))
        if read in ready:
            data = os.read(read, _CHUNK)
            output, total = (output + data)[-OUTPUT_LIMIT:], total + len(data)
            if log is not None:
                log.write(data)
            if not data:
                waited.remove(read)
            if total > FLOOD_LIMIT and not settings.get("log"):
                return "flood 0", output
        if child in ready and (read not in ready or read not in waited):
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            return f"exited {code}", output
        if watched in ready or time.monotonic() >= deadline:
            return "timeout 0", output


def _open_log(settings: Mapping[str, Any]) -> OutputLog | None:
    """None without one, and where it cannot be written: that must stop no command."""
    if not settings.get("log"):
        return None
    path, limit, older = settings["log"]
    with suppress(OSError):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        return OutputLog(path, int(limit), int(older))
    return None


def _kill_all(place: str | None) -> None:
    """Everything below this process, again and again until nothing is left."""
    deadline = time.monotonic() + KILL_LIMIT_S
    while time.monotonic() < deadline:
        if place is not None:
            cgroup.kill(place)
        left = tree.below(os.getpid())
        tree.signal_all(left, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not left:
            break
        time.sleep(0.002)
    if place is not None:
        cgroup.remove(place)
