"""The serial line of a lab, with the pulse's own ends of it."""

import asyncio
import secrets
import time
from pathlib import Path

from clusterctl.lab.serial import SerialLine, link_name
from reconciler.pulse.serial_path import SerialPath
from reconciler.pulse.settings import SerialSettings

DEADLINE_S = 10.0


def end(shared: Path, server: str, peer: str) -> SerialPath:
    device = str(shared / link_name(server))
    return SerialPath("line", SerialSettings(device, 115200, peer, 0.05))


async def heard(path: SerialPath, count: int) -> list[bytes]:
    found: list[bytes] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(found) < count:
            found += [datagram for datagram, _ in path.drain(time.monotonic(), 0.0)]
            await asyncio.sleep(0.01)
    return found


async def test_both_ends_hear_each_other_and_never_themselves(tmp_path: Path) -> None:
    line = SerialLine(tmp_path, ("n1", "n2"))
    line.join()
    one, two = end(tmp_path, "n1", "n2"), end(tmp_path, "n2", "n1")
    said = [secrets.token_bytes(300) for _ in range(5)]
    for datagram in said:
        one.send("n2", datagram)
    two.send("n1", b"from n2")
    assert await heard(two, 5) == said
    assert await heard(one, 1) == [b"from n2"]
    for path in (one, two):
        path.close()
    line.close()


async def test_what_nobody_reads_is_lost_and_the_line_goes_on(tmp_path: Path) -> None:
    """A server that is off must not fill the line of the other one for ever."""
    line = SerialLine(tmp_path, ("n1", "n2"))
    line.join()
    one = end(tmp_path, "n1", "n2")
    for _ in range(500):
        one.send("n2", secrets.token_bytes(400))
        await asyncio.sleep(0)
    two = end(tmp_path, "n2", "n1")  # its power is back
    await asyncio.sleep(0.05)
    list(two.drain(time.monotonic(), 0.0))
    async with asyncio.timeout(DEADLINE_S):
        while True:
            one.send("n2", b"newest")
            if b"newest" in await heard(two, 1):
                break
    one.close()
    two.close()
    line.close()
