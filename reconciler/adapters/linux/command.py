"""Runs one short program to its end or to its time-out; used by the adapters of disks."""

import asyncio
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
    try:
        process = await asyncio.create_subprocess_exec(
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


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    with suppress(TimeoutError):
        async with asyncio.timeout(GONE_LIMIT_S):
            await process.wait()
