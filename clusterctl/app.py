"""Entry point of `clusterctl`: finds commands by file, and ends every failure in one sentence.

A command is `clusterctl/commands/<name>.py` with a `command`; it is imported only when it is used.
"""

import contextlib
import importlib
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from clusterctl.connection import CliContext
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure, explained
from clusterctl.global_options import global_options

_SIGPIPE_STATUS = 141  # what a shell reports for a program that lost its reader

# Short help is kept here, so that `--help` and completion import no command.
COMMANDS: dict[str, dict[str, str]] = {
    "Specs": {
        "apply": "Make the cluster's specs what the files say.",
        "diff": "Show what apply would change (exit 0 nothing, 1 something).",
        "delete": "Remove one object that nothing uses any more.",
        "history": "List the revisions of the specs.",
        "rollback": "Go back to the specs of an earlier revision.",
        "schema": "Print the JSON Schema of a kind.",
        "explain": "Explain a kind or a field of a spec.",
    },
    "See": {
        "status": "The whole cluster on one screen, worst first.",
        "get": "List objects with their state.",
        "describe": "Everything about one object.",
        "why": "The last decision about an object, and how it came to it.",
        "events": "What happened, in order of time.",
        "doctor": "Check whether the next failover would work (exit 1 if not).",
        "wait": "Wait until an object reaches a state.",
    },
    "Operate": {
        "move": "Move a group to another server.",
        "start": "Start a group or a resource.",
        "stop": "Stop a group or a resource, and keep it stopped.",
        "operation": "List operations that have not ended; cancel one.",
        "clear": "Forget the failures of a group, so that it may start again.",
        "barrier": "Start without waiting for servers that are missing.",
        "fence": "Power off a server, test or confirm it.",
        "mirror": "See mirrored disks; copy, compare, say which side counts.",
        "agent": "Let an agent be away for maintenance; see all agents.",
        "drain": "Move all groups away from a server, and keep it free.",
        "undrain": "Let a drained server take groups again.",
    },
    "Servers": {
        "cluster": "Make a cluster, and join servers to it.",
        "cert": "See and renew the certificates of servers.",
        "backup": "Save what the store must not lose, and restore it.",
        "store": "Say that the store was restored from a backup; make space in it.",
        "disk": "Prepare a shared device for heartbeats.",
        "volume": "Guard the cluster's disks on this server.",
        "lab": "A cluster of pretend servers on this machine.",
        "demo": "Watch a failover in a lab.",
    },
    "Help": {
        "completion": "Print the completion script of a shell.",
        "version": "Print versions.",
    },
}


class LazyCommands(click.Group):
    """Commands by the name of their module."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [name for names in COMMANDS.values() for name in names if _installed(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if not any(cmd_name in names for names in COMMANDS.values()) or not _installed(cmd_name):
            return None
        module = importlib.import_module(f"clusterctl.commands.{cmd_name}")
        command = module.command
        if not isinstance(command, click.Command):
            raise TypeError(f"{module.__name__}.command is not a command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            from specs.errors import nearest

            hint = nearest(args[0], self.list_commands(ctx))
            raise click.UsageError(f"no such command: {args[0]}{hint}", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for heading, names in COMMANDS.items():
            rows = [(name, text) for name, text in names.items() if _installed(name)]
            with formatter.section(heading):
                formatter.write_dl(rows)


def _installed(name: str) -> bool:
    return importlib.util.find_spec(f"clusterctl.commands.{name}") is not None


@click.command(
    cls=LazyCommands,
    params=global_options(top=True),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="clusterctl", message="clusterctl %(version)s")
def cli() -> None:
    """High-availability clusters for plain Linux servers, as declared state."""


def run(argv: Sequence[str], cli_context: CliContext | None = None) -> int:
    """Run one command line and return its exit status; never raises, never prints a traceback
    unless asked for with --debug."""
    context = cli_context or CliContext()
    # Libraries may warn on their own; a user reads our sentence only.
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())
    try:
        return _invoke(list(argv), context)
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _SIGPIPE_STATUS
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else ExitCode.FAILED
    except BaseException as error:  # noqa: BLE001 - the one place where everything ends
        return _ended(error, context)


def _invoke(argv: list[str], context: CliContext) -> int:
    if "_CLUSTERCTL_COMPLETE" in os.environ:
        cli.main(args=argv, prog_name="clusterctl", complete_var="_CLUSTERCTL_COMPLETE")
    # Not `main`, which would end a broken pipe with 1: for `diff` that means a difference.
    try:
        with cli.make_context("clusterctl", argv, obj=context) as ctx:
            result: Any = cli.invoke(ctx)
    except click.exceptions.Exit as done:
        result = done.exit_code
    sys.stdout.flush()
    return int(result) if isinstance(result, int) else ExitCode.DONE


def _ended(error: BaseException, context: CliContext) -> int:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    failure = explained(error)
    if context.debug:
        traceback.print_exception(error)
    if failure is None:
        text = " ".join(str(error).split())[:300]
        failure = Failure(
            f"internal error: {type(error).__name__}: {text} (report with --debug)",
            ExitCode.INTERNAL,
        )
    style = context.style
    with contextlib.suppress(OSError, ValueError):
        if failure.message:
            click.echo(style.plain(failure.message), err=True)
        if failure.next_command:
            click.echo(style.plain(f"next: {failure.next_command}"), err=True)
    return failure.code


def main() -> None:
    """The `clusterctl` script."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
