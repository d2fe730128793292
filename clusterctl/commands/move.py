"""`move`: hand a group over to another server; nothing of it stays behind as a rule."""

import click

from clusterctl.connection import CliContext
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand
from clusterctl.objects import Ref, parse_ref
from clusterctl.operations import operate, preempt_option, wish_options
from reconciler.decide.records import OperationKind


@click.command(cls=ClusterCommand)
@click.argument("group")
@click.option("--to", metavar="SERVER", help="Server to move to (default: the best other one).")
@preempt_option
@wish_options
@click.pass_obj
def command(
    cli: CliContext,
    group: str,
    to: str | None,
    preempt: bool,
    wait: bool,
    timeout_s: float,
    why: str,
    output: str,
) -> ExitCode:
    """Stop GROUP where it runs and start it on another server."""
    ref = parse_ref(group) if "/" in group else Ref("Group", group)
    if ref.kind != "Group":
        raise click.UsageError(f"only groups move, not {group}")
    return operate(
        cli,
        OperationKind.MOVE,
        ref,
        wait=wait,
        timeout_s=timeout_s,
        output=output,
        why=why,
        preempt=preempt,
        to=to.removeprefix("server/") if to else None,
    )
