"""`apply`: make the cluster's specs what the files say, in one step or not at all."""

import asyncio
import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from clusterctl.connection import CliContext, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand, output_option

if TYPE_CHECKING:
    from clusterctl.changes import Proposal
    from specs.spec_set import ObjectRef


@click.command(cls=ClusterCommand)
@click.option("-f", "--file", "paths", multiple=True, metavar="PATH", help="File, directory or -.")
@click.argument("more", nargs=-1, metavar="[PATH]...")
@click.option("--dry-run", is_flag=True, help="Check everything, change nothing.")
@click.option("--prune", is_flag=True, help="Remove objects of this source that are not there.")
@click.option("--yes", is_flag=True, help="Let --prune remove more than half of all objects.")
@click.option("--message", default="", metavar="TEXT", help="Kept with the revision.")
@click.option("--source", default="cli", show_default=True, help="Who owns the objects applied.")
@click.option("--force-conflicts", is_flag=True, help="Take over objects of other sources.")
@output_option("text", "json")
@click.pass_obj
def command(
    cli: CliContext,
    paths: tuple[str, ...],
    more: tuple[str, ...],
    dry_run: bool,
    prune: bool,
    yes: bool,
    message: str,
    source: str,
    force_conflicts: bool,
    output: str,
) -> ExitCode:
    """Apply the specs in the given files and directories: all of them, or none."""
    from specs.load import load, read_sources

    if not paths and not more:
        raise click.UsageError("say what to apply: -f FILE, -f DIRECTORY or -f -")
    types = cli.types()
    given = load(read_sources((*paths, *more), sys.stdin.buffer), types)

    async def work() -> ExitCode:
        from clusterctl.changes import guard_removals, propose
        from clusterctl.device_rules import check_devices
        from clusterctl.operations import who
        from clusterctl.picture import read_head, read_run

        async with connected(cli) as connection:
            head, stored = await read_head(connection)
            proposal = propose(
                given, stored, types, source=source, prune=prune, force=force_conflicts
            )
            records = await read_run(connection)
            if proposal.leaving:
                guard_removals(proposal, records, at_most_half=not yes)
            doubts = check_devices(proposal, records.server_facts, records.mirror_status)
            revision = stored.revision
            if not dry_run and not proposal.nothing:
                revision = await connection.repository.apply(
                    proposal.texts,
                    files=proposal.files,
                    source=source,
                    author=who(),
                    message=message,
                    expected_head=head,
                    remove={str(ref) for ref in proposal.removed},
                    force=force_conflicts,
                )
        proposal = replace(proposal, warnings=(*proposal.warnings, *doubts))
        _report(given.objects, proposal, revision, dry_run=dry_run, output=output)
        return ExitCode.DONE

    return asyncio.run(work())


def _report(
    given: Iterable["ObjectRef"],
    proposal: "Proposal",
    revision: int,
    *,
    dry_run: bool,
    output: str,
) -> None:
    for warning in proposal.warnings:
        click.echo(str(warning), err=True)
    for line in proposal.timing:
        click.echo(f"timing: {line}", err=True)
    words = {ref: proposal.word(ref) for ref in given}
    words |= dict.fromkeys(sorted(proposal.removed), "pruned")
    named = [(f"{ref.kind.lower()}/{ref.name}", word) for ref, word in words.items()]
    if output == "json":
        shown = {
            "revision": revision,
            "dryRun": dry_run,
            "changed": not proposal.nothing,
            "objects": [{"object": name, "change": word} for name, word in named],
            "timing": list(proposal.timing),
            "warnings": [str(warning) for warning in proposal.warnings],
        }
        click.echo(json.dumps(shown, indent=2))
        return
    suffix = " (dry run)" if dry_run else ""
    for name, word in named:
        click.echo(f"{name} {word}{suffix}")
    click.echo(f"r{revision}{suffix}")
