"""`clear`: forget a group's failures, so that it may start again where it failed, or how often a
server took final actions on itself."""

import click

from clusterctl.connection import CliContext
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand
from clusterctl.objects import Ref, parse_ref
from clusterctl.operations import operate, wish_options
from reconciler.decide.records import OperationKind


@click.command(cls=ClusterCommand)
@click.argument("target")
@wish_options
@click.pass_obj
def command(
    cli: CliContext, target: str, wait: bool, timeout_s: float, why: str, output: str
) -> ExitCode:
    """Forget the failures of a group (group/NAME), or the final actions of a server (server/NAME),
    which count towards the reboot limit."""
    ref = parse_ref(target) if "/" in target else Ref("Group", target)
    if ref.kind not in ("Group", "Server"):
        raise click.UsageError(f"only groups and servers have something to clear, not {target}")
    return operate(
        cli,
        OperationKind.CLEAR,
        ref,
        wait=wait,
        timeout_s=timeout_s,
        output=output,
        why=why,
    )
