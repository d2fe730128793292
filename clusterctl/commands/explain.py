"""`explain`: documentation of a kind or a field, from the same models that validate specs."""

import click

from clusterctl.connection import CliContext
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand


@click.command(cls=ClusterCommand)
@click.argument("path", metavar="KIND[.FIELD...]")
@click.pass_obj
def command(cli: CliContext, path: str) -> ExitCode:
    """Explain a KIND, a type (resource/floating-ip) or a field (group.spec.failover.choice)."""
    from specs.schema import explain

    click.echo(explain(path, cli.types()))
    return ExitCode.DONE
