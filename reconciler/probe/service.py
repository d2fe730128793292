"""Reads requests (one JSON object a line) from the agent, makes the probes, answers each by its id.

Request: {"id", "probe", "settings", "timeout"}; answer: {"id", "healthy", "reason", "output"};
{"cancel": id} ends a probe without an answer.
Probes run side by side; each is given up at its time-out. Ends when the agent closes its side.
"""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from reconciler.probe import command, disk, http, ping, processes
from reconciler.probe.answer import Answer, bad, unknown

CONTROL = 3
LINE_LIMIT = 256 * 1024

Probe = Callable[[Mapping[str, Any], float], Awaitable[Answer]]
PROBES: Mapping[str, Probe] = {
    "command": command.probe,
    "disk": disk.probe,
    "http": http.probe,
    "ping": ping.probe,
    "process": processes.probe,
}


def main() -> None:
    """The whole life of this process."""
    _settle_down()  # before the event loop has descriptors of its own
    asyncio.run(_work())


async def _work() -> None:
    """Until the agent closes the connection; what still runs then is killed."""
    connection = socket.socket(fileno=CONTROL)
    reader, writer = await asyncio.open_connection(sock=connection, limit=LINE_LIMIT)
    try:
        async with asyncio.TaskGroup() as tasks:
            serving = {tasks.create_task(_serve(reader, writer, tasks))}
            await asyncio.wait(serving)
            raise _AgentGone
    except* _AgentGone:
        writer.close()


class _AgentGone(Exception):
    """Nobody listens any more: every probe is cancelled."""


async def _serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tasks: asyncio.TaskGroup
) -> None:
    running: dict[object, asyncio.Task[None]] = {}
    while line := await _next_line(reader):
        request = json.loads(line)
        if "cancel" in request:
            if request["cancel"] in running:
                running[request["cancel"]].cancel()
            continue
        task = tasks.create_task(_answer(request, writer))
        running = {number: one for number, one in running.items() if not one.done()}
        running[request["id"]] = task


async def _next_line(reader: asyncio.StreamReader) -> bytes:
    """Nothing once the agent is gone: it may have been killed within a line, or before it read our
    answers, which makes the kernel say *reset*."""
    try:
        line = await reader.readline()
    except ConnectionError:
        return b""
    return line if line.endswith(b"\n") else b""


async def _answer(request: Mapping[str, Any], writer: asyncio.StreamWriter) -> None:
    answer = await run(str(request["probe"]), request["settings"], float(request["timeout"]))
    writer.write(json.dumps({**answer, "id": request["id"]}).encode() + b"\n")


async def run(name: str, settings: Mapping[str, Any], timeout_s: float) -> Answer:
    """One probe; never raises."""
    probe = PROBES.get(name)
    if probe is None:
        return unknown(f"there is no probe {name!r}")
    try:
        async with asyncio.timeout(timeout_s):
            return await probe(settings, timeout_s)
    except TimeoutError:
        return bad(f"no answer within {timeout_s:g} s")
    except Exception as error:  # noqa: BLE001 - a fault of one probe must not end the others
        return unknown(f"{type(error).__name__}: {error}")


def _settle_down() -> None:
    """Nothing inherited but the connection; only its end, or a kill, ends this process."""
    os.closerange(CONTROL + 1, 1 << 16)
    os.set_inheritable(CONTROL, False)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
