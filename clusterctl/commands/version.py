"""`version`: of this program, and of the agents with --all."""

import asyncio
import json
import platform
from importlib import metadata

import click

from clusterctl.connection import CliContext, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand, output_option


@click.command(cls=ClusterCommand)
@click.option("--all", "everything", is_flag=True, help="Also of the agents in the cluster.")
@output_option("text", "json")
@click.pass_obj
def command(cli: CliContext, everything: bool, output: str) -> ExitCode:
    """Print versions."""
    found = {"clusterctl": metadata.version("clusterctl"), "python": platform.python_version()}
    if everything:
        found |= asyncio.run(_agents(cli))
    if output == "json":
        click.echo(json.dumps(found))
    else:
        for name, version in found.items():
            click.echo(f"{name} {version}")
    return ExitCode.DONE


async def _agents(cli: CliContext) -> dict[str, str]:
    from clusterctl.picture import read_run

    async with connected(cli) as connection:
        records = await read_run(connection)
    return {f"agent/{name}": found.version for name, found in sorted(records.sessions.items())}
