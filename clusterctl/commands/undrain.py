"""`undrain`: a drained server takes groups again."""

import click

from clusterctl.connection import CliContext
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand
from clusterctl.objects import Ref
from clusterctl.operations import operate, wish_options
from reconciler.decide.records import OperationKind


@click.command(cls=ClusterCommand)
@click.argument("server")
@wish_options
@click.pass_obj
def command(
    cli: CliContext, server: str, wait: bool, timeout_s: float, why: str, output: str
) -> ExitCode:
    """Let SERVER take groups again after `drain`. Nothing moves by itself because of it."""
    return operate(
        cli,
        OperationKind.UNDRAIN,
        Ref("Server", server.removeprefix("server/")),
        wait=wait,
        timeout_s=timeout_s,
        output=output,
        why=why,
    )
