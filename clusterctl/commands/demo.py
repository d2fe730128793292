"""`demo`: three servers from YAML, one dies, is fenced, and its service answers elsewhere."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import click

from clusterctl.connection import CliContext
from clusterctl.demo import data as data_story
from clusterctl.demo.live import live_table
from clusterctl.demo.story import (
    ENDS,
    Client,
    Lab,
    Outage,
    events_since,
    example_files,
    hear_no_more,
)
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.global_options import ClusterCommand
from clusterctl.render.timeline import failover_steps, outage_lines, timeline_lines
from clusterctl.settings import Choice
from reconciler.decide.records import EventRecord


@click.command(cls=ClusterCommand)
@click.option("--data", is_flag=True, help="PostgreSQL on a mirrored disk, and a power loss.")
@click.option("--keep", is_flag=True, help="Leave the lab up and print what to try on it.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="Where the lab lives (default: a new directory under the system's temporary one).",
)
@click.pass_obj
def command(cli: CliContext, data: bool, keep: bool, directory: Path | None) -> ExitCode:
    """Show a failover with fencing and a planned move on three pretend servers. Needs root.

    With --data a client inserts rows into a database, and counts them after each outage.
    """
    if os.geteuid() != 0:
        raise Failure(
            "the demo needs root, because it makes a lab of network and process namespaces",
            ExitCode.NOT_PERMITTED,
            f"sudo {' '.join(sys.argv)}",
        )
    folder = directory or Path(tempfile.mkdtemp(prefix="clusterctl-demo-"))
    lab = Lab(folder)
    for number in ENDS[1:]:  # being told to end is a reason to clean up, as Ctrl-C is
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        if data:
            data_story.require_postgres()
            data_story.build(lab)
            asyncio.run(data_story.tell(_shown(cli, lab), lab))
        else:
            _build(lab)
            asyncio.run(_tell(_shown(cli, lab), lab))
    except BaseException as error:  # Ctrl-C as well: no lab may stay
        _take_down(lab)
        if directory is None and isinstance(error, KeyboardInterrupt):
            shutil.rmtree(folder, ignore_errors=True)  # nobody will read its logs
        raise
    if not keep:
        _take_down(lab)
        return ExitCode.DONE
    click.echo(_farewell(lab, data))
    return ExitCode.DONE


def _step(text: str) -> None:
    click.echo(f"\n{click.style('$ ' + text, bold=True)}")


def _build(lab: Lab) -> None:
    click.echo("Three servers on this machine, each with its own network, processes, disk and BMC.")
    _step("clusterctl lab up --servers 3 --detach")
    began = time.monotonic()
    lab.up(3, lambda line: click.echo(f"  {line}"))
    click.echo(f"  up in {time.monotonic() - began:.0f} s")
    files = example_files()
    _step("clusterctl apply -f examples/01-web")
    click.echo(_indented(lab.clusterctl("apply", *files)))
    lab.wait_servers(3)
    lab.clusterctl("wait", "group/web", "--for", "online", "--timeout", "60s")
    _step("clusterctl status")
    click.echo(_indented(lab.clusterctl("status")))


def _shown(cli: CliContext, lab: Lab) -> CliContext:
    return CliContext(
        choice=Choice(context=str(lab.directory / "context.yaml")),
        no_color=cli.no_color,
        ascii_only=cli.ascii_only,
    )


async def _tell(shown: CliContext, lab: Lab) -> None:
    async with Client(lab) as client:
        click.echo("\nA client asks http://10.77.2.100:8080/ every 5 ms.")
        crash, began, victim = await _crash(shown, lab, client)
        move = await _move(shown, lab, client, victim)
    _report(lab, (crash, began, victim), move)


async def _crash(cli: CliContext, lab: Lab, client: Client) -> tuple[Outage, float, str]:
    victim = await asyncio.to_thread(lab.owner)
    seen = len(client.outages)
    _step(f"clusterctl lab crash {victim}        # the owner dies; its power still reads on")
    async with live_table(cli):
        began = time.time()
        await asyncio.to_thread(lab.lab, "crash", victim)
        outage = await client.next_outage(seen)
        await asyncio.to_thread(lab.wait_servers, 3)
    click.echo(f"  {outage.after} answers {outage.ms:.0f} ms after {outage.before} fell silent")
    return outage, began, victim


async def _move(cli: CliContext, lab: Lab, client: Client, to: str) -> Outage:
    seen = len(client.outages)
    _step(f"clusterctl move web --to {to}")
    async with live_table(cli):
        said = await asyncio.to_thread(lab.clusterctl, "move", "web", "--to", to)
        outage = await client.next_outage(seen)
    click.echo(_indented(said))
    return outage


def _report(lab: Lab, crash: tuple[Outage, float, str], move: Outage) -> None:
    outage, began, victim = crash
    events = [EventRecord.model_validate(event) for event in events_since(lab, began)]
    answered = EventRecord(
        id="client",
        name="client_answered",
        server="client",
        at_wall=outage.ended,
        fields={"group": "web"},
    )
    steps = failover_steps([*events, answered], group="web", victim=victim, start_wall=outage.began)
    click.echo(f"\nThe failover, in milliseconds after the last answer of {victim}:")
    click.echo(_indented("\n".join(timeline_lines(steps))))
    if not any(step.name == "fenced" for step in steps):
        raise Failure("the failover was not preceded by a fence", ExitCode.FAILED)
    click.echo("\nWhat the client saw:")
    rows = (
        (f"server crash, {outage.before} -> {outage.after}, fenced first", outage.ms / 1000),
        (f"planned move, {move.before} -> {move.after}", move.ms / 1000),
    )
    click.echo(_indented("\n".join(outage_lines(rows))))


def _take_down(lab: Lab) -> None:
    hear_no_more()
    if (lab.directory / "lab.json").exists():
        lab.lab("down")
    click.echo("\nThe lab is gone.")


def _farewell(lab: Lab, data: bool) -> str:
    folder = lab.directory
    if data:
        return (
            f"\nThe lab stays up. Play with it:\n"
            f"  export CLUSTERCTL_CONTEXT={folder}/context.yaml CLUSTERCTL_LAB={folder}\n"
            f"  clusterctl mirror status db-data --follow\n"
            f"  clusterctl mirror isolate db-data\n"
            f"  clusterctl lab down"
        )
    return (
        f"\nThe lab stays up. Play with it:\n"
        f"  export CLUSTERCTL_CONTEXT={folder}/context.yaml CLUSTERCTL_LAB={folder}\n"
        f"  clusterctl status -w\n"
        f"  clusterctl lab bmc n1 dead && clusterctl lab crash n1     # blocked: no proof\n"
        f"  clusterctl lab bmc n1 ok                                  # and on it goes\n"
        f"  clusterctl lab cut n2 --network private\n"
        f"  clusterctl lab exec client -- curl -s http://10.77.2.100:8080/\n"
        f"  clusterctl lab down"
    )


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" if line else "" for line in text.rstrip().splitlines())
