"""The lab's daemon: owns the BMC simulators, switches their modes, is the servers' hardware
watchdogs, and holds the serial line between the first two. Started by root.py.

    python -m clusterctl.lab.daemon DIRECTORY

It listens on DIRECTORY/control.sock: one JSON line asks, one answers. It restarts nothing; servers
and their power do not depend on it.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clusterctl.lab import links, plan
from clusterctl.lab.bmc import BmcError, BmcMode, BmcSimulator
from clusterctl.lab.serial import SerialLine
from clusterctl.lab.watchdog import LabWatchdog

LINE_LIMIT = 64 * 1024

log = logging.getLogger("lab")


class Daemon:
    """All BMC simulators of one lab and the modes they are in."""

    def __init__(self, lab: plan.Plan) -> None:
        self._simulators = {node.name: _simulator(lab, node) for node in lab.servers}
        self._modes = dict.fromkeys(self._simulators, "ok")
        self._watchdogs = [_watchdog(lab, node) for node in lab.servers]
        self._line = _line(lab)

    async def start(self) -> None:
        async with asyncio.TaskGroup() as group:
            for simulator in self._simulators.values():
                group.create_task(simulator.start())
            for watchdog in self._watchdogs:
                group.create_task(watchdog.start())
        if self._line is not None:
            self._line.join()

    async def watch(self) -> None:
        """For ever: bite the servers that do not feed."""
        await asyncio.gather(*(watchdog.run() for watchdog in self._watchdogs))

    async def stop(self) -> None:
        for simulator in self._simulators.values():
            await simulator.stop()

    async def answer(self, ask: dict[str, Any]) -> dict[str, Any]:
        match ask:
            case {"do": "status"}:
                return {"modes": self._modes}
            case {"do": "bmc", "server": str(server), "mode": str(mode)} if (
                server in self._simulators and mode in set(BmcMode)
            ):
                try:
                    await self._simulators[server].set_mode(mode)
                except BmcError as error:
                    return {"error": f"the BMC of {server}: {error}"}
                self._modes[server] = mode
                return {"modes": self._modes}
        return {"error": f"not understood: {ask}"}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: one question, one answer."""
        try:
            ask = json.loads(await asyncio.wait_for(reader.readline(), 10))
            writer.write(json.dumps(await self.answer(ask)).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError, TimeoutError) as error:
            log.warning("a request failed: %s", error)
        finally:
            writer.close()


def _simulator(lab: plan.Plan, node: plan.Node) -> BmcSimulator:
    return BmcSimulator(
        directory=lab.bmc_directory(node.name),
        server=node.name,
        address=node.bmc_address,
        port=plan.BMC_PORT,
        user=plan.BMC_USER,
        password=lab.password_file(node.name).read_text().strip(),
        guid=node.bmc_guid,
        power_program=power_program(lab, node),
    )


def _line(lab: plan.Plan) -> SerialLine | None:
    if len(lab.servers) < 2:
        return None
    first, second = lab.servers[:2]
    return SerialLine(lab.directory / "shared", (first.name, second.name))


def _watchdog(lab: plan.Plan, node: plan.Node) -> LabWatchdog:
    async def power_off() -> None:
        argv = [*power_program(lab, node), "set", "power", "0"]
        process = await asyncio.create_subprocess_exec(*argv)
        if await process.wait():
            log.error("the watchdog of %s could not power it off", node.name)

    return LabWatchdog(lab.node_directory(node.name), node.name, power_off)


def power_program(lab: plan.Plan, node: plan.Node) -> list[str]:
    """What the BMC simulator calls, with `get …` or `set …` behind it."""
    script = Path(__file__).with_name("power.sh")
    return ["/bin/sh", str(script), str(lab.node_directory(node.name))]


async def run(directory: Path) -> None:
    lab = plan.load(directory)
    links.build_networks(lab)
    daemon = Daemon(lab)
    await daemon.start()
    server = await asyncio.start_unix_server(
        daemon.serve, str(directory / "control.sock"), limit=LINE_LIMIT
    )
    log.info("lab %s is ready for servers", lab.name)
    async with server:
        await asyncio.gather(server.serve_forever(), daemon.watch())


def main(arguments: Sequence[str]) -> int:
    directory = Path(arguments[0])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(run(directory))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
