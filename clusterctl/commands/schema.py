"""`schema`: JSON Schema of a kind or a type, from the same models that validate specs."""

import json

import click

from clusterctl.connection import CliContext
from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand


@click.command(cls=ClusterCommand)
@click.argument("topic", required=False, metavar="[KIND|resource/TYPE|fence/TYPE]")
@click.pass_obj
def command(cli: CliContext, topic: str | None) -> ExitCode:
    """Print the JSON Schema of a KIND; without one, list what there is."""
    from specs.schema import json_schema, topics

    types = cli.types()
    if topic is None:
        for name in topics(types):
            click.echo(name)
    else:
        click.echo(json.dumps(json_schema(topic, types), indent=2))
    return ExitCode.DONE
