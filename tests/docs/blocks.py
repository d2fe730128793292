"""Commands as the pages show them: fenced blocks, inline code, and how a line of them is read.

A block is ` ```sh `: to be typed as it stands, in a lab; ` ```sh n1 `: on that server of it.
` ```sh machine `: only real servers have what it needs (systemd, packages), so it is parsed and not
run.
` ```console ` has `where# ` before each command, `$ ` stands before commands in transcripts.
A comment `# exit 5` says how a command ends; without one it ends with 0.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from clusterctl.app import cli
from clusterctl.connection import CliContext

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
)

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"^(?:\w+[#$]|[$#]) ")
_CONTINUED = re.compile(r"\s*\\\n\s*")
_REDIRECTION = re.compile(r"\s\d?>>?\s*(?:&\d|\S+)")
_OPERATORS = frozenset("();<>|&")
_ASSIGNMENT = re.compile(r"^\w+=")
_KEYWORDS = frozenset(("until", "while", "if", "then", "do", "else", "sudo", "export", "$"))


@dataclass(frozen=True, slots=True)
class Block:
    """`words` is what follows the three backticks, `line` where it begins."""

    page: Path
    line: int
    words: tuple[str, ...]
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def runs_in_a_lab(self) -> bool:
        return self.words[:1] == ("sh",) and "machine" not in self.words

    @property
    def lines(self) -> list[str]:
        """Commands of the block without prompts, one each; what a transcript prints is left out."""
        lines = _CONTINUED.sub(" ", self.text).splitlines()
        if self.words[:1] != ("sh",):
            lines = [_PROMPT.sub("", line) for line in lines if _PROMPT.match(line)]
        return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, tuple(found[1].split()), found[2])
        for found in _FENCE.finditer(text)
    ]


def inline_commands(page: Path) -> Iterator[tuple[str, str]]:
    """(where, text) of each `clusterctl …` within sentences and tables."""
    text = _FENCE.sub(lambda m: "\n" * m[0].count("\n"), page.read_text(encoding="utf-8"))
    for found in re.finditer(r"`(clusterctl\s[^`]+)`", text):
        line = text.count("\n", 0, found.start()) + 1
        command = " ".join(found[1].split()).replace("\\|", "|")
        yield f"{page.relative_to(ROOT)}:{line}", command


def invocations(line: str) -> Iterator[list[str]]:
    """Arguments of each `clusterctl` in a line of shell, also of those that another one runs."""
    lexer = shlex.shlex(_REDIRECTION.sub("", f" {line}"), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    command: list[str] = []
    for word in [*lexer, ";"]:
        if not set(word) <= _OPERATORS or not word:
            command.append(word)
            continue
        yield from _of_command(command)
        command = []


def _of_command(words: list[str]) -> Iterator[list[str]]:
    while words and (_ASSIGNMENT.match(words[0]) or words[0] in _KEYWORDS):
        words = words[1:]
    if words[:1] == ["clusterctl"] or words[:1] == [".venv/bin/clusterctl"]:
        yield words[1:]
        if "--" in words:  # `lab exec n1 -- clusterctl …`
            yield from _of_command(words[words.index("--") + 1 :])
    for word in words:
        if re.search(r"clusterctl\s", word):  # `sh -c '…'`, "$(…)"
            yield from invocations(re.sub(r"^\$\(|\)$", "", word))


def parse(arguments: list[str]) -> None:
    """Read a command line with the real program, and do nothing. Raises `click.UsageError` for an
    unknown command, option or value, and for an argument that is missing or too much."""
    try:
        context = cli.make_context("clusterctl", list(arguments), obj=CliContext())
        left = [*context._protected_args, *context.args]
        while isinstance(context.command, click.Group):
            if not left:
                raise click.MissingParameter("a command is missing", ctx=context)
            with context:
                name, command, left = context.command.resolve_command(context, left)
                assert command is not None
                context = command.make_context(name, list(left), parent=context)
            left = [*context._protected_args, *context.args]
    except click.exceptions.Exit:  # --help, --version
        return
    except click.exceptions.NoArgsIsHelpError as error:
        raise click.MissingParameter("a command is missing", ctx=error.ctx) from error
