"""`clear`: forget a group's failures, so that it may start again where it failed."""

import click

from clusterctl.connection import CliContext
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand
from clusterctl.objects import Ref, parse_ref
from clusterctl.operations import operate, wish_options
from reconciler.decide.records import OperationKind


@click.command(cls=ClusterCommand)
@click.argument("group")
@wish_options
@click.pass_obj
def command(
    cli: CliContext, group: str, wait: bool, timeout_s: float, why: str, output: str
) -> ExitCode:
    """Forget the failures of GROUP (group/NAME)."""
    ref = parse_ref(group) if "/" in group else Ref("Group", group)
    if ref.kind != "Group":
        raise click.UsageError(f"only groups have failures to clear, not {group}")
    return operate(
        cli,
        OperationKind.CLEAR,
        ref,
        wait=wait,
        timeout_s=timeout_s,
        output=output,
        why=why,
    )
