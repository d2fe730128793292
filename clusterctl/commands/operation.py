"""`operation`: the wishes that have not ended yet, and taking one back."""

import asyncio
import json

import click

from clusterctl.connection import CliContext, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.global_options import ClusterCommand, output_option
from clusterctl.objects import Ref
from clusterctl.operations import carry_out, request, wish_options
from clusterctl.picture import Picture, read_picture, read_run
from clusterctl.render.rows import document, headers, row
from clusterctl.render.table import table
from reconciler.decide.records import OperationKind
from reconciler.decide.wish_steps import CLOSED
from specs.errors import nearest


@click.group()
def command() -> None:
    """Wishes (move, start, stop, fence ...): list those that have not ended, cancel one."""


@command.command("list", cls=ClusterCommand)
@click.option("--all", "all_", is_flag=True, help="Also those that ended within the last hour.")
@output_option("text", "json")
@click.pass_obj
def list_(cli: CliContext, all_: bool, output: str) -> ExitCode:
    """List operations, oldest first."""

    async def work() -> Picture:
        async with connected(cli) as connection:
            return await read_picture(connection)

    picture = asyncio.run(work())
    known = picture.records.operations
    refs = [
        Ref("Operation", name) for name in sorted(known) if all_ or known[name].phase not in CLOSED
    ]
    if output == "json":
        click.echo(json.dumps([document(picture, ref) for ref in refs], indent=2))
        return ExitCode.DONE
    rows = [row(picture, ref, cli.style, wide=True) for ref in refs]
    for line in table(headers("Operation", wide=True), rows):
        click.echo(cli.style.plain(line))
    return ExitCode.DONE


@command.command(cls=ClusterCommand)
@click.argument("operation", metavar="ID")
@wish_options
@click.pass_obj
def cancel(
    cli: CliContext, operation: str, wait: bool, timeout_s: float, why: str, output: str
) -> ExitCode:
    """Take back the operation ID, as long as nothing has been done for it."""
    name = operation.removeprefix("operation/")

    async def work() -> ExitCode:
        async with connected(cli) as connection:
            known = (await read_run(connection)).operations
            if name not in known:
                hint = nearest(name, list(known))
                raise Failure(
                    f"there is no operation/{name}{hint}",
                    ExitCode.USAGE,
                    "clusterctl operation list",
                )
            target = f"operation/{name}"
            wish = await request(connection, OperationKind.CANCEL, target, why=why)
            return await carry_out(
                connection, cli, wish, wait=wait, timeout_s=timeout_s, output=output
            )

    return asyncio.run(work())
