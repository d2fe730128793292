"""What `clusterctl demo --data` does: PostgreSQL on a mirrored disk, a power loss of its owner, and
the way back, while a client inserts rows and counts them.

Called by `commands/demo.py`. Every step is a user's command.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from clusterctl.connection import CliContext
from clusterctl.demo import rows as rows_program
from clusterctl.demo.live import live_table
from clusterctl.demo.story import Lab, events_since
from clusterctl.demo.telling import Telling
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.mirrors import KINDS, mirrors_of
from clusterctl.picture import Picture
from clusterctl.render.mirrors import mark
from clusterctl.render.progress import amount
from clusterctl.render.style import Style
from clusterctl.render.table import table
from clusterctl.render.timeline import Step, failover_steps, timeline_lines
from reconciler.decide.records import EventRecord

ADDRESS, PORT = "10.77.2.101", 5432
GROUP, MIRROR = "db", "db-data"
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "03-postgres-mirror"
STEP_S = 180.0
EVENTS_S = 20.0
"""Events come to the store behind everything else."""


@dataclass(frozen=True, slots=True)
class RowOutage:
    """Time without an acknowledged row, and what the database had when it answered again:
    `missing` of the acknowledged rows, and `unanswered` ones whose answer was lost."""

    ms: float
    began: float
    ended: float
    acknowledged: int
    missing: int
    unanswered: int


class RowClient(Telling):
    """The program that inserts rows, inside the lab. `acknowledged` grows as it tells."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab.directory, [rows_program.__file__, ADDRESS, str(PORT)], STEP_S)
        self.acknowledged = 0
        self.missing: int | None = None
        self.outages: list[RowOutage] = []

    def hear(self, event: str, said: dict[str, Any]) -> None:
        if event == "outage":
            self.outages.append(RowOutage(**said))
        else:
            self.acknowledged = int(said["acknowledged"])
            self.missing = said.get("missing", self.missing)

    async def next_outage(self, seen: int) -> RowOutage:
        """The first after the `seen` ones; raises `Failure` when there is none in time."""
        await self.until(lambda: len(self.outages) > seen, "no row was acknowledged again")
        return self.outages[seen]

    async def more(self, count: int) -> None:
        """Until so many rows more are acknowledged."""
        wanted = self.acknowledged + count
        await self.until(lambda: self.acknowledged >= wanted, f"not {count} rows more")


def require_postgres() -> None:
    """Raises `Failure` where no PostgreSQL is installed."""
    if not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        text = "the servers of the lab use this machine's PostgreSQL, and there is none"
        raise Failure(text, ExitCode.FAILED, "apt-get install postgresql")


def build(lab: Lab) -> None:
    """Lab up, example applied, both sides in sync."""
    click.echo("Three servers on this machine, each with its own network, processes, disk and BMC.")
    step("clusterctl lab up --servers 3 --detach")
    began = time.monotonic()
    lab.up(3, lambda line: click.echo(f"  {line}"))
    click.echo(f"  up in {time.monotonic() - began:.0f} s")
    if not (EXAMPLE / "postgres.yaml").exists():
        raise Failure(f"{EXAMPLE} is missing: run the demo from a checkout", ExitCode.FAILED)
    step("clusterctl apply -f examples/03-postgres-mirror")
    click.echo(indented(lab.clusterctl("apply", "-f", str(EXAMPLE))))
    lab.wait_servers(3)
    lab.clusterctl("wait", f"group/{GROUP}", "--for", "online", "--timeout", "120s")
    wait_in_sync(lab)
    step(f"clusterctl mirror status {MIRROR}")
    click.echo(indented(lab.clusterctl("mirror", "status", MIRROR)))


def wait_in_sync(lab: Lab, timeout_s: float = STEP_S) -> None:
    """Until both sides have all data."""
    deadline = time.monotonic() + timeout_s
    while (state := status(lab)["state"]) != "in-sync":
        if time.monotonic() > deadline:
            raise Failure(f"{MIRROR} is {state}", ExitCode.TIMEOUT)
        time.sleep(0.2)


def status(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.clusterctl("mirror", "status", MIRROR, "-o", "json"))
    return found


async def tell(cli: CliContext, lab: Lab) -> None:
    """The story itself; raises `Failure` when a single acknowledged row is not there."""
    async with RowClient(lab) as client:
        click.echo(f"\nA client inserts numbered rows at {ADDRESS}:{PORT}, one after the other.")
        await client.more(200)
        lost, victim = await _power_loss(cli, lab, client)
        await _way_back(cli, lab, client, victim)
        moved = await _move(cli, lab, client, victim)
    _report(client, ((f"power loss of {victim}", lost), (f"planned move to {victim}", moved)))


async def _power_loss(cli: CliContext, lab: Lab, client: RowClient) -> tuple[RowOutage, str]:
    victim = await asyncio.to_thread(lab.owner, GROUP)
    seen = len(client.outages)
    step(f"clusterctl lab power {victim} off        # the owner loses its power")
    async with _shown(cli, client):
        await asyncio.to_thread(lab.lab, "power", victim, "off")
        outage = await client.next_outage(seen)
        while await asyncio.to_thread(lab.owner, GROUP) == victim:
            # A slow answer of before is none.
            outage = await client.next_outage(len(client.outages))
        await client.more(50)
    click.echo(_told(outage))
    click.echo("\nThe failover, in milliseconds after the last acknowledged row:")
    click.echo(indented("\n".join(_timeline(lab, outage, victim))))
    return outage, victim


def _timeline(lab: Lab, outage: RowOutage, victim: str) -> list[str]:
    """Steps of the cluster, each resource of the group, and the first row again."""
    deadline = time.monotonic() + EVENTS_S
    while True:
        events = [EventRecord.model_validate(one) for one in events_since(lab, outage.began)]
        steps = failover_steps(events, group=GROUP, victim=victim, start_wall=outage.began)
        fenced = next((step.at_ms for step in steps if step.name == "fenced"), None)
        if fenced is not None and any(step.name == "activated" for step in steps):
            break
        if time.monotonic() > deadline:
            raise Failure("the failover was not preceded by a fence", ExitCode.FAILED)
        time.sleep(0.5)
    found = [step for step in steps if step.name != "activated"]
    for event in events:
        at_ms = (event.at_wall - outage.began) * 1000
        mine = event.name == "resource_started" and event.fields.get("group") == GROUP
        if mine and event.server != victim and fenced <= at_ms:
            found.append(Step(str(event.fields["resource"]), at_ms, event.server, event.name))
    found.append(Step("row", outage.ms, "client", "client_answered"))
    return timeline_lines(sorted(found, key=lambda step: step.at_ms), width=32)


async def _way_back(cli: CliContext, lab: Lab, client: RowClient, victim: str) -> None:
    """The fence switches it on again; what it lacks is copied to it while rows come in."""
    click.echo(f"\n{victim} comes back. What it lacks is copied to it while rows come in:")
    async with _shown(cli, client):
        await asyncio.to_thread(lab.wait_servers, 3, STEP_S)
        await asyncio.to_thread(wait_in_sync, lab)
    found = await asyncio.to_thread(status, lab)
    copied, size = amount(found["copiedBytes"]), amount(found["sizeBytes"])
    click.echo(f"  {victim} has all data again: {copied} of {size} were copied")
    step(f"clusterctl mirror verify {MIRROR}")
    click.echo(indented(await asyncio.to_thread(lab.clusterctl, "mirror", "verify", MIRROR)))


async def _move(cli: CliContext, lab: Lab, client: RowClient, to: str) -> RowOutage:
    seen = len(client.outages)
    step(f"clusterctl move {GROUP} --to {to}")
    async with _shown(cli, client):
        said = await asyncio.to_thread(lab.clusterctl, "move", GROUP, "--to", to)
        outage = await client.next_outage(seen)
        await client.more(50)
    click.echo(indented(said))
    click.echo(_told(outage))
    return outage


def _of(outage: RowOutage) -> str:
    found = f"all {outage.acknowledged} are there"
    if outage.missing:
        found = f"{outage.missing} of {outage.acknowledged} are missing"
    more = f", and {outage.unanswered} whose answer was lost" if outage.unanswered else ""
    return found + more


def _told(outage: RowOutage) -> str:
    length = f"  no row was acknowledged for {outage.ms / 1000:.2f} s"
    return f"{length}\n  of the acknowledged rows {_of(outage)}"


def _report(client: RowClient, told: tuple[tuple[str, RowOutage], ...]) -> None:
    click.echo("\nWhat the client saw:")
    rows = [(word, _of(outage), f"{outage.ms / 1000:.2f} s") for word, outage in told]
    click.echo(indented("\n".join(table(("EVENT", "ACKNOWLEDGED ROWS", "OUTAGE"), rows))))
    missing = sum(outage.missing for outage in client.outages) + (client.missing or 0)
    last = "none is missing" if not missing else f"{missing} are missing"
    click.echo(f"  {client.acknowledged} rows were acknowledged in all; {last}")
    if missing:
        raise Failure(f"{missing} acknowledged rows are missing", ExitCode.FAILED)


@asynccontextmanager
async def _shown(cli: CliContext, client: RowClient) -> AsyncIterator[None]:
    def more(picture: Picture, style: Style) -> tuple[str, ...]:
        cells = []
        for view in mirrors_of(picture):
            found = f" {view.progress.percent:.0f} %" if view.progress else ""
            cells.append(f"{view.name} {mark(view, style)}{found}")
        return tuple(cells)

    def count() -> str:
        return f"{client.acknowledged} rows acknowledged"

    async with live_table(cli, kinds=KINDS, more=more, count=count):
        yield


def step(text: str) -> None:
    click.echo(f"\n{click.style('$ ' + text, bold=True)}")


def indented(text: str) -> str:
    return "\n".join(f"  {line}" if line else "" for line in text.rstrip().splitlines())
