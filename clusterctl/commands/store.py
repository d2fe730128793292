"""`store`: a person's word that it came out of a backup and may be used; space for new writes."""

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import click

from clusterctl.connection import CliContext, Connection, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.global_options import SECONDS, ClusterCommand, output_option
from clusterctl.picture import read_run
from reconciler.ports.store import DAMAGED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.adapters.etcd.space import Usage


@click.group()
def command() -> None:
    """The store as a whole: say that it was restored from a backup, make space in it."""


@command.command(cls=ClusterCommand)
@click.option("--yes-i-mean", "said", metavar="CLUSTER", help="The cluster's name once more.")
@click.option(
    "--without", multiple=True, metavar="SERVER", help="Do not wait for this server's word."
)
@click.option(
    "--off", multiple=True, metavar="SERVER", help="You swear: it has no spec and no power."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=SECONDS,
    default="60s",
    metavar="DURATION",
    help="How long to wait for the servers (default 60s).",
)
@output_option("text", "json")
@click.pass_obj
def restored(
    cli: CliContext,
    said: str | None,
    without: tuple[str, ...],
    off: tuple[str, ...],
    timeout_s: float,
    output: str,
) -> ExitCode:
    """Let the cluster use a store that was restored from a backup.

    What runs is stopped, for nobody knows any more whose it is. Each group starts once every server
    is proven to run nothing from before: by its own word, a fence, or `fence confirm`.
    """
    return asyncio.run(_restored(cli, said, without, off, timeout_s, output))


async def _restored(
    cli: CliContext,
    said: str | None,
    without: tuple[str, ...],
    off: tuple[str, ...],
    timeout_s: float,
    output: str,
) -> ExitCode:
    from clusterctl import restored

    async with connected(cli) as connection:
        life = (await read_run(connection)).store_life
        if _is_said(connection, life):
            click.echo("it was said already; waiting for the servers in doubt", err=True)
        else:
            restored.require_doubt(connection, life)
            _meant(connection.keys.cluster, said)
            records, servers = await restored.wait_for_servers(connection, without, timeout_s / 2)
            life = restored.next_life(connection, records, servers, without, off)
            await restored.say(connection, life)
        left = await restored.until_proven(connection, timeout_s)
        generation = life.generation if life else 0
        if output == "json":
            click.echo(json.dumps({"generation": generation, "inDoubt": list(left)}))
        if left:
            raise Failure(
                f"generation {generation} has begun; not proven yet that nothing from before runs "
                f"on {', '.join(left)}",
                ExitCode.TIMEOUT,
                f"start its agent, or: clusterctl fence confirm {left[0]}",
            )
        if output != "json":
            text = f"generation {generation} has begun; nothing from before runs anywhere"
            click.echo(cli.style.plain(cli.style.mark("done", text)))
    return ExitCode.DONE


def _is_said(connection: Connection, life: object) -> bool:
    from reconciler.decide.records import StoreLife

    return (
        isinstance(life, StoreLife)
        and life.store_id == connection.store.store_id
        and bool(life.doubted)
    )


def _meant(cluster: str, said: str | None) -> None:
    """The cluster's name, typed. Raises `Failure` (5)."""
    what = f"This stops everything that cluster {cluster} runs, and starts it anew."
    if said is None and sys.stdin.isatty():
        said = click.prompt(f"{what} Type the cluster's name to go on", err=True)
    if said != cluster:
        text = f"refused: {what} Say so with --yes-i-mean {cluster}"
        raise Failure(text, ExitCode.REFUSED)


@command.command(cls=ClusterCommand)
@click.option("--anyway", is_flag=True, help="Also when the store takes writes.")
@output_option("text", "json")
@click.pass_obj
def repair(cli: CliContext, anyway: bool, output: str) -> ExitCode:
    """Let a store whose space is used up take writes again.

    Its history is forgotten, each member gives free space back (it stands still for seconds, the
    leader last), and the alarm is taken off. What is stored now stays. All members must answer.
    """
    return asyncio.run(_repair(cli, output, anyway=anyway))


async def _repair(cli: CliContext, output: str, *, anyway: bool) -> ExitCode:
    async with connected(cli) as connection:
        alarms = {m.alarm for m in await connection.store.members() if m.alarm}
    if DAMAGED in alarms:
        text = f"refused: {DAMAGED}; a damaged member is replaced, not repaired"
        raise Failure(text, ExitCode.REFUSED, "clusterctl doctor")
    if not alarms and not anyway:
        if output == "json":
            click.echo(json.dumps({"repaired": False, "members": []}))
        else:
            click.echo(cli.style.plain(cli.style.mark("ok", "the store takes writes already")))
        return ExitCode.DONE
    before, after = await _make_space(cli)
    if output == "json":
        sizes = {one.server: one for one in before}
        shown = [
            {"server": one.server, "bytesBefore": sizes[one.server].size, "bytes": one.size}
            for one in after
            if one.server in sizes
        ]
        click.echo(json.dumps({"repaired": True, "members": shown}))
        return ExitCode.DONE
    was, now = max(one.size for one in before), max(one.size for one in after)
    text = f"the store takes writes again: {_mib(was)} before, {_mib(now)} now"
    click.echo(cli.style.plain(cli.style.mark("done", text)))
    return ExitCode.DONE


def _mib(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB"


async def _make_space(cli: CliContext) -> "tuple[Sequence[Usage], Sequence[Usage]]":
    from reconciler.adapters.etcd.endpoints import TlsFiles
    from reconciler.adapters.etcd.space import StoreSpace

    settings = cli.settings()
    tls = settings.tls
    space = StoreSpace(settings.endpoints, TlsFiles(tls.ca, tls.cert, tls.key) if tls else None)
    try:
        return await space.repair(lambda text: click.echo(text, err=True))
    finally:
        await space.close()
