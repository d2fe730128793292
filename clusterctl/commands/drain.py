"""`drain`: a server gives its groups away and takes none until `undrain`."""

import click

from clusterctl.connection import CliContext
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand
from clusterctl.objects import Ref
from clusterctl.operations import operate, wish_options
from clusterctl.this_server import myself
from reconciler.decide.records import OperationKind


@click.command(cls=ClusterCommand)
@click.argument("server", required=False)
@click.option(
    "--this-server", is_flag=True, help="The server that this runs on, with its own certificate."
)
@click.option(
    "--for-shutdown",
    is_flag=True,
    help="Until its next start only; what has nowhere to go is stopped.",
)
@wish_options
@click.pass_obj
def command(
    cli: CliContext,
    server: str | None,
    this_server: bool,
    for_shutdown: bool,
    wait: bool,
    timeout_s: float,
    why: str,
    output: str,
) -> ExitCode:
    """Move all groups away from SERVER; it takes none until `clusterctl undrain SERVER`."""
    if (server is None) != this_server:
        raise click.UsageError("name a SERVER, or --this-server")
    if for_shutdown and not this_server:
        raise click.UsageError("--for-shutdown goes with --this-server")
    name = (server or "").removeprefix("server/")
    boot_id = None
    if this_server:
        name, boot_id = myself(cli)
    return operate(
        cli,
        OperationKind.DRAIN,
        Ref("Server", name),
        wait=wait,
        timeout_s=timeout_s,
        output=output,
        why=why,
        boot_id=boot_id if for_shutdown else None,
    )
