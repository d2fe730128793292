"""`rollback`: a new revision with the specs of an earlier one, in one step."""

import asyncio

import click

from clusterctl.connection import CliContext, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand


class RevisionNumber(click.ParamType[int]):
    """`41` or `r41`."""

    name = "revision"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        text = str(value).removeprefix("r")
        if not text.isdecimal() or int(text) < 1:
            self.fail(f"{value!r} is not a revision, write it as 41 or r41", param, ctx)
        return int(text)


@click.command(cls=ClusterCommand)
@click.option("--to", "revision", type=RevisionNumber(), required=True, metavar="REVISION")
@click.option("--dry-run", is_flag=True, help="Show what would change, change nothing.")
@click.option("--message", default="", metavar="TEXT", help="Kept with the revision.")
@click.pass_obj
def command(cli: CliContext, revision: int, dry_run: bool, message: str) -> ExitCode:
    """Make the specs what they were at REVISION (see history)."""

    async def work() -> ExitCode:
        from clusterctl.changes import change_lines, guard_removals, replacement
        from clusterctl.operations import who
        from clusterctl.picture import read_run

        async with connected(cli) as connection:
            repository = connection.repository
            stored, target = await repository.read(), await repository.read(revision)
            proposal = replacement(stored, target, cli.types())
            guard_removals(proposal, await read_run(connection))
            if not dry_run:
                new = await repository.rollback(revision, author=who(), message=message)
        for _, line in change_lines(proposal.changes):
            click.echo(cli.style.plain(line))
        click.echo(f"would go back to r{revision}" if dry_run else f"r{new} (as r{revision})")
        return ExitCode.DONE

    return asyncio.run(work())
