"""Runs one short program to its end or to its time-out; used by the adapters of disks.

The program ends with the agent, also with one that is killed: nothing works on a disk for which
nobody has a permit any more, and which its next agent does not know of.
"""

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress

from reconciler.ports.host import HostError

GONE_LIMIT_S = 2.0
"""A killed program is waited for, so that nothing of it happens later; one that the kernel does
not let go is left behind after this time."""


async def run(
    command: Sequence[str],
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    limit: int = 300,
) -> tuple[int, str]:
    """(exit code, the last `limit` characters of what it wrote). Raises `HostError`."""
    if shutil.which(command[0], path=(environment or os.environ).get("PATH")) is None:
        raise HostError(f"{command[0]} cannot be run: it is not there")
    try:
        process = await asyncio.create_subprocess_exec(
            *_leash(),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
        )
    except OSError as error:
        raise HostError(f"{command[0]} cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    except BaseException as error:  # cancelled as well: it must not outlive its caller
        await _end(process)
        if isinstance(error, TimeoutError):
            raise HostError(f"{command[0]} takes longer than {timeout_s:g} s") from None
        raise
    return process.returncode or 0, output.decode(errors="replace").strip()[-limit:]


def _leash() -> tuple[str, ...]:
    """The kernel kills what runs behind it when this process is gone."""
    found = shutil.which("setpriv")
    return (found, "--pdeathsig", "KILL", "--") if found is not None else ()


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    with suppress(TimeoutError):
        async with asyncio.timeout(GONE_LIMIT_S):
            await process.wait()
