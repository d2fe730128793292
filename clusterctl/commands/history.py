"""`history`: the revisions of the specs, newest first."""

import asyncio
import json
from typing import Any

import click

from clusterctl.connection import CliContext, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand, output_option
from clusterctl.render.table import clean, table
from reconciler.decide.status import iso


@click.command(cls=ClusterCommand)
@output_option("text", "json")
@click.pass_obj
def command(cli: CliContext, output: str) -> ExitCode:
    """List the revisions of the specs."""

    async def work() -> tuple[list[dict[str, Any]], int]:
        async with connected(cli) as connection:
            repository = connection.repository
            head = await repository.head()
            found = await repository.history()
        rows = [
            {
                "revision": item.revision,
                "parent": item.parent,
                "time": iso(item.time),
                "author": item.author,
                "source": item.source,
                "message": item.message,
            }
            for item in sorted(found, key=lambda item: -item.revision)
        ]
        return rows, head.revision if head else 0

    rows, head = asyncio.run(work())
    if output == "json":
        click.echo(json.dumps(rows, indent=2))
        return ExitCode.DONE
    if not rows:
        click.echo("no specs were ever applied", err=True)
        return ExitCode.DONE
    cells = [
        (
            f"r{item['revision']}" + (" *" if item["revision"] == head else ""),
            str(item["time"] or "-"),
            clean(str(item["author"])),
            clean(str(item["source"])),
            clean(str(item["message"])) or "-",
        )
        for item in rows
    ]
    for line in table(("REVISION", "TIME", "AUTHOR", "SOURCE", "MESSAGE"), cells):
        click.echo(line)
    return ExitCode.DONE
