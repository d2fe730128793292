"""Every command that a page shows is run: all pages in one lab, each page from its first block to
its last, as a reader would who types it all. `lab up` and `lab down` are the lab of this test.

What ends otherwise than with 0 says so in its comment (`# exit 5`). Time-outs are longer here."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT, Block, blocks
from tests.docs.script import MARK, expected, script
from tests.integration.lab_under_test import LabUnderTest, clusterctl, eventually, needs_lab

pytestmark = [*needs_lab, pytest.mark.long]

BLOCK_S = 1200.0
NOT_HERE = re.compile(r"\s*(make|apt-get|\.venv/bin/python)\b|.*\bclusterctl lab (up|down)\b")
WALKED = [
    page for page in PAGES if any(b.runs_in_a_lab and "clusterctl " in b.text for b in blocks(page))
]


class Walk:
    def __init__(self, lab: LabUnderTest, directory: Path) -> None:
        self.lab, self.directory = lab, directory
        (directory / "examples").symlink_to(ROOT / "examples")
        programs = [str(ROOT / ".tools/usr/bin"), str(Path(sys.executable).parent)]
        self.environment = {
            **os.environ,
            "CLUSTERCTL_CONTEXT": str(lab.directory / "context.yaml"),
            "CLUSTERCTL_LAB": str(lab.directory),
            "CLUSTERCTL_TIMEOUT": "15s",
            "PATH": ":".join([*programs, os.environ["PATH"], "/usr/sbin", "/sbin"]),
        }

    def run(self, block: Block) -> None:
        lines = [line for line in block.lines if not NOT_HERE.match(line)]
        argv = ["sh", "-c", script(lines)]
        servers = [node.name for node in self.lab.plan.servers if node.name in block.words]
        if servers:
            argv = [sys.executable, "-m", "clusterctl", "lab", "exec", servers[0], "--", *argv]
        done = subprocess.run(
            argv,
            cwd=self.directory,
            env={**self.environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BLOCK_S,
            check=False,
        )
        ended = re.findall(rf"^{MARK} (\d+) (\d+)$", done.stdout, re.MULTILINE)
        wrong = [
            f"{lines[int(number)]}: exit {code}"
            for number, code in ended
            if int(code) not in expected(lines[int(number)])
        ]
        assert not wrong, f"{block.where}: {wrong}\n{done.stdout}\n{self.story()}"
        assert len(ended) == len(lines), f"{block.where}: not all was run\n{done.stdout}"

    def story(self) -> str:
        """What the cluster says of its last minutes."""
        asked = (("operation", "list", "--all"), ("events", "--since", "4m"))
        answers = [self.ctl(*words, check=False) for words in asked]
        return "\n".join(answer.stdout + answer.stderr for answer in answers)

    def begin(self) -> None:
        """As after `lab up`: everything whole, no group."""
        lab = self.lab
        lab.lab("heal")
        for server in lab.lab("status")["servers"]:
            name = server["name"]
            lab.lab("bmc", name, "ok")
            (lab.plan.node_directory(name) / "clusterctl/disabled/etcd").unlink(missing_ok=True)
            if server["state"] != "running":
                lab.lab("power", name, "on")
        eventually(lambda: self.ctl("status", check=False).returncode == 0, "the store is back", 90)
        for group in json.loads(self.ctl("get", "group", "-o", "json").stdout):
            if group["status"]["owner"]:
                self.ctl("stop", f"group/{group['metadata']['name']}")
        if json.loads(self.ctl("status", "-o", "json").stdout)["revision"] != 1:
            self.ctl("rollback", "--to", "1")
        eventually(
            lambda: self.ctl("status", "--check", check=False).returncode == 0, "all well", 180
        )

    def ctl(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return clusterctl(*words, check=check)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    lab = LabUnderTest.start(tmp_path_factory.mktemp("docs") / "d", "--servers", "3")
    made = Walk(lab, tmp_path_factory.mktemp("pages"))
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("CLUSTERCTL_CONTEXT", "CLUSTERCTL_LAB", "CLUSTERCTL_TIMEOUT"):
                patch.setenv(name, made.environment[name])
            yield made
    finally:
        lab.down()


def files_of(page: Path) -> dict[str, str]:
    """`hello.yaml`: the block of YAML after the sentence that names it."""
    found = re.finditer(
        r"`([\w-]+\.yaml)`[^`]*\n```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
    )
    return {each[1]: each[2] for each in found}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("page", WALKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_page_is_walked(walk: Walk, page: Path) -> None:
    for name, text in files_of(page).items():
        (walk.directory / name).write_text(text)
    walk.begin()
    for block in blocks(page):
        if block.runs_in_a_lab:
            walk.run(block)
