"""`store restored`: a person's word that the store came out of a backup and may be used."""

import asyncio
import json
import sys

import click

from clusterctl.connection import CliContext, Connection, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.global_options import SECONDS, ClusterCommand, output_option
from clusterctl.picture import read_run


@click.group()
def command() -> None:
    """The store as a whole: say that it was restored from a backup."""


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
