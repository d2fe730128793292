"""`completion`: the script that makes a shell complete commands and options."""

import click
from click.shell_completion import get_completion_class

from clusterctl.exit_codes import ExitCode
from clusterctl.global_options import ClusterCommand


@click.command(cls=ClusterCommand)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> ExitCode:
    """Print the completion script for SHELL: eval "$(clusterctl completion bash)"."""
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"no completion for {shell}")
    root = ctx.find_root().command
    click.echo(made(root, {}, "clusterctl", "_CLUSTERCTL_COMPLETE").source())
    return ExitCode.DONE
