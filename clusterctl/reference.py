"""docs/cli.md, made from the commands: `python -m clusterctl.reference > docs/cli.md`."""

import sys

import click

from clusterctl.app import COMMANDS, cli
from clusterctl.exit_codes import ExitCode

_WIDTH = 96
_INTRO = """\
# Command reference

Made by `python -m clusterctl.reference > docs/cli.md`; a test keeps it up to date.

Objects are named `KIND/NAME`, such as `group/web`. Which cluster a command talks to is taken from
its options, then from the environment, then from the context file. The last line of a failure is
the next command to type.

| exit code | meaning |
|---|---|
| 0 | done, no difference, condition met |
| 1 | a difference was found, or a check failed |
| 2 | wrong usage, or a spec that is not valid: nothing was applied |
| 3 | the cluster's store did not answer, or has no quorum |
| 4 | conflict: another source owns it, or somebody applied in between |
| 5 | refused by a guard |
| 6 | the operation failed, or it can no longer come without an operator |
| 7 | the time was over |
| 8 | not permitted: no root, or the store denied it |
| 70 | a fault of this program |
| 130 | interrupted |

`status --check` answers as monitoring plug-ins do: 0 ok, 1 warning, 2 critical, 3 unknown.
"""


def reference() -> str:
    """The whole page."""
    parts = [_INTRO, _section(cli, ["clusterctl"])]
    root = click.Context(cli, info_name="clusterctl")
    for heading, names in COMMANDS.items():
        parts.append(f"## {heading}\n")
        for name in names:
            command = cli.get_command(root, name)
            if command is not None:
                parts += _sections(command, ["clusterctl", name])
    return "\n".join(parts)


def _sections(command: click.Command, path: list[str]) -> list[str]:
    found = [_section(command, path)]
    if isinstance(command, click.Group):
        for name, below in sorted(command.commands.items()):
            if not below.hidden:
                found += _sections(below, [*path, name])
    return found


def _section(command: click.Command, path: list[str]) -> str:
    parent: click.Context | None = None
    for word in path[:-1]:
        parent = click.Context(click.Group(word), info_name=word, parent=parent)
    context = click.Context(
        command,
        info_name=path[-1],
        parent=parent,
        terminal_width=_WIDTH,
        max_content_width=_WIDTH,
        help_option_names=["-h", "--help"],
    )
    return f"### {' '.join(path)}\n\n```text\n{command.get_help(context)}\n```\n"


def main() -> int:
    sys.stdout.write(reference())
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
