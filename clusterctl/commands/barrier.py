"""`barrier bypass`: start groups although servers are missing at a cold start."""

import click

from clusterctl.connection import CliContext
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand
from clusterctl.operations import operate, wish_options
from reconciler.decide.records import OperationKind


@click.group()
def command() -> None:
    """The wait for all servers when a cluster starts cold."""


@command.command(cls=ClusterCommand)
@wish_options
@click.pass_obj
def bypass(cli: CliContext, wait: bool, timeout_s: float, why: str, output: str) -> ExitCode:
    """Start now, without the servers that have not come yet."""
    return operate(
        cli,
        OperationKind.BYPASS_BARRIER,
        None,
        wait=wait,
        timeout_s=timeout_s,
        output=output,
        why=why,
    )
