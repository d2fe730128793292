"""Every command that a page shows exists, with its options and arguments, as the program itself
reads it; nothing is run here. What can be run is run by test_walk.py, and docs/install.md by
tests/packaging/test_installed.py."""

import re
import subprocess
from pathlib import Path

import click
import pytest

from clusterctl import app
from reconciler.events import CATALOGUE
from tests.docs.blocks import PAGES, ROOT, Block, blocks, inline_commands, invocations, parse
from tests.docs.script import MARK, expected, script


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def problem_with(line: str, *, whole: bool) -> str:
    """Why the program does not take this line, or nothing. Sentences may leave arguments out
    (`whole` is false), and stand for any word with … or [ ]."""
    try:
        for arguments in invocations(line):
            parse(arguments if whole else [word for word in arguments if not re.search("…", word)])
    except click.MissingParameter as error:
        return f"{line}: {error.format_message()}" if whole else ""
    except click.UsageError as error:
        return f"{line}: {error.format_message()}"
    except ValueError as error:  # not shell
        return f"{line}: {error}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_blocks_are_taken(page: Path) -> None:
    found = [
        f"{block.where}: {problem}"
        for block in blocks(page)
        for line in block.lines
        if (problem := problem_with(line, whole=True))
    ]
    assert found == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_sentences_are_taken(page: Path) -> None:
    found = [
        f"{where}: {problem}"
        for where, command in inline_commands(page)
        if (problem := problem_with(command, whole=False))
    ]
    assert found == []


def test_what_is_explained_exists() -> None:
    found = []
    for page in PAGES:
        texts = [line for block in blocks(page) for line in block.lines]
        for text in (*texts, *(command for _, command in inline_commands(page))):
            for words in invocations(text):
                known = words[:1] in (["explain"], ["schema"]) and not set("KIND…") & set(words[-1])
                if known and app.run(words) != 0:
                    found.append(f"{page.name}: {text}")
    assert found == []


def test_advice_of_events_is_taken() -> None:
    found = [
        problem
        for event in CATALOGUE.values()
        for command in re.findall(r"`(clusterctl [^`]+)`", event.advice)
        if (problem := problem_with(command, whole=False))
    ]
    assert found == []


def test_every_block_says_what_it_is() -> None:
    """A block of commands without `sh` would be run and parsed by nobody."""
    found = [
        block.where
        for page in PAGES
        for block in blocks(page)
        if not block.words and re.search(r"^clusterctl ", block.text, re.MULTILINE)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "clusterctl stutus",
        "clusterctl status --chekc",
        "clusterctl move",
        "clusterctl fence explode n1",
        "clusterctl lab cut n1 --network moon",
        "clusterctl status && clusterctl drain n1 n2",
        "clusterctl lab exec n1 -- clusterctl cert renwe",
        "clusterctl lab exec n1 -- sh -c 'clusterctl cert renwe'",
        'ID=$(clusterctl move web --no-wiat) && echo "$ID"',
        "clusterctl agent hold --until soon",
    ],
)
def test_wrong_commands_are_noticed(line: str) -> None:
    assert problem_with(line, whole=True)


@pytest.mark.parametrize(
    "line",
    [
        "clusterctl status > /tmp/out 2>&1   # a comment",
        "clusterctl fence n1 --yes-i-mean n1",
        "clusterctl lab exec n1 -- clusterctl cert status",
        "make demo ARGS=--keep   # or: .venv/bin/clusterctl lab up --detach",
        'eval "$(clusterctl completion bash)"',
        "clusterctl --help",
    ],
)
def test_right_commands_are_taken(line: str) -> None:
    assert problem_with(line, whole=True) == ""


def test_blocks_are_read() -> None:
    block = Block(ROOT / "README.md", 1, ("console",), "n1# clusterctl status\nall is well\n$ ls\n")
    assert block.lines == ["clusterctl status", "ls"]
    assert not block.runs_in_a_lab
    assert Block(ROOT / "README.md", 1, ("sh",), "# why\na \\\n  b\n").lines == ["a b"]
    assert not Block(ROOT / "README.md", 1, ("sh", "machine"), "").runs_in_a_lab


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        (["true", "X=1", 'test "$X" = 1'], [0, 0, 0]),
        (["true", "false", "true"], [0, 1]),
        (["false  # exit 1", "true"], [1, 0]),
        (["true   # exit 1", "true"], [0]),
        (["true   # exit 1 if there is one", "true"], [0, 0]),
    ],
)
def test_a_script_ends_where_a_line_does_not_keep_its_word(
    lines: list[str], codes: list[int]
) -> None:
    done = subprocess.run(["sh", "-c", script(lines)], capture_output=True, text=True, check=False)
    told = re.findall(rf"^{MARK} (\d+) (\d+)$", done.stdout, re.MULTILINE)
    assert told == [(str(number), str(code)) for number, code in enumerate(codes)]


def test_what_goes_on_is_looked_at_for_a_while() -> None:
    assert expected("clusterctl events -f --group web") == {124, 130}
    assert "timeout" in script(["clusterctl status -w"])
    assert "timeout" not in script(["clusterctl apply -f examples/01-web"])
    assert "--timeout 240s" in script(["clusterctl wait group/web --for online --timeout 60s"])
