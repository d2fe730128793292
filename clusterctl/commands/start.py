"""`start`: an operator's wish for one group or resource."""

import click

from clusterctl.connection import CliContext
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand
from clusterctl.objects import Ref, parse_ref
from clusterctl.operations import operate, preempt_option, wish_options
from reconciler.decide.records import OperationKind


@click.command(cls=ClusterCommand)
@click.argument("ref", metavar="KIND/NAME")
@click.option("--to", metavar="SERVER", help="Start it on this server (groups only).")
@preempt_option
@wish_options
@click.pass_obj
def command(
    cli: CliContext,
    ref: str,
    to: str | None,
    preempt: bool,
    wait: bool,
    timeout_s: float,
    why: str,
    output: str,
) -> ExitCode:
    """Start a group (group/NAME) or a single resource (resource/NAME)."""
    found = parse_ref(ref) if "/" in ref else Ref("Group", ref)
    if found.kind not in ("Group", "Resource"):
        raise click.UsageError(f"start takes group/NAME or resource/NAME, not {ref}")
    if to and found.kind != "Group":
        raise click.UsageError("--to is for groups: a resource runs where its group runs")
    return operate(
        cli,
        OperationKind.START,
        found,
        wait=wait,
        timeout_s=timeout_s,
        output=output,
        why=why,
        preempt=preempt,
        to=to,
    )
