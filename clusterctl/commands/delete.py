"""`delete`: remove one object that nothing uses and that runs nowhere."""

import asyncio

import click

from clusterctl.connection import CliContext, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.global_options import ClusterCommand
from clusterctl.objects import parse_ref


@click.command(cls=ClusterCommand)
@click.argument("ref", metavar="KIND/NAME")
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@click.option("--message", default="", metavar="TEXT", help="Kept with the revision.")
@click.pass_obj
def command(cli: CliContext, ref: str, dry_run: bool, message: str) -> ExitCode:
    """Remove KIND/NAME from the specs.

    Refused (exit 5) while another object names it, and while it runs: stop a group first.
    """
    wanted = parse_ref(ref)
    if wanted.kind == "Operation":
        raise click.UsageError("operations end by themselves and are forgotten after an hour")

    async def work() -> ExitCode:
        from clusterctl.changes import guard_removals, refuse_running_group, removal
        from clusterctl.operations import require, who
        from clusterctl.picture import read_head, read_run
        from specs.spec_set import ObjectRef

        async with connected(cli) as connection:
            await require(connection, wanted)
            head, stored = await read_head(connection)
            if str(wanted) not in stored.objects:
                raise Failure(f"{wanted.short} was removed meanwhile", ExitCode.CONFLICT)
            target = ObjectRef(wanted.kind, wanted.name)
            records = await read_run(connection)
            refuse_running_group(target, records)
            proposal = removal(stored, cli.types(), target)
            guard_removals(proposal, records)
            if dry_run:
                click.echo(f"{wanted.short} deleted (dry run)")
                return ExitCode.DONE
            revision = await connection.repository.apply(
                {},
                source=stored.objects[str(wanted)].source,
                author=who(),
                message=message or f"delete {wanted.short}",
                expected_head=head,
                remove={str(wanted)},
            )
        click.echo(f"{wanted.short} deleted")
        click.echo(f"r{revision}")
        return ExitCode.DONE

    return asyncio.run(work())
