"""A real lab as a test sees it: `clusterctl lab …` in, JSON out. Used by lab and bootstrap tests,
and free for any other test that needs installed servers."""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clusterctl import app
from clusterctl.lab import inside, plan, up

SOURCE = Path(__file__).parents[2]
TOOLS = (str(SOURCE / ".tools/usr/bin"),)
COMMAND_TIMEOUT_S = float(os.environ.get("LAB_TIMEOUT_S", "170"))
WAIT_S = 30.0


def missing() -> str:
    """Why no lab can be made here, or nothing."""
    if os.geteuid() != 0:
        return "needs root"
    try:
        up.require_programs(TOOLS)
        plan.find_cgroup_root()
    except plan.LabError as error:
        return str(error)
    return ""


needs_lab = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(missing()), reason=missing() or "a lab can be made"),
    pytest.mark.timeout(180),
]


def clusterctl(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """One command line, as a user types it."""
    done = subprocess.run(
        [sys.executable, "-m", "clusterctl.app", *arguments],
        cwd=SOURCE,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    if check:
        assert done.returncode == 0, f"{arguments}: {done.stderr}{done.stdout}"
    return done


def in_process(*arguments: str) -> tuple[int, str, str]:
    """The same without a new process, which costs half a second: exit status, stdout, stderr."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = app.run(arguments)
    return status, output.getvalue(), errors.getvalue()


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait until it holds; fails with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.05)


@dataclass(frozen=True)
class LabUnderTest:
    directory: Path

    @classmethod
    def start(cls, directory: Path, *options: str) -> "LabUnderTest":
        clusterctl("lab", "up", "--dir", str(directory), "--detach", "-o", "json", *options)
        return cls(directory)

    @classmethod
    @contextlib.contextmanager
    def running(
        cls, directory: Path, *options: str, shown: Sequence[Sequence[str]] = ()
    ) -> Iterator["LabUnderTest"]:
        """A lab, and the context of `clusterctl`, as long as the block; then the output of the
        commands `shown` is printed, which pytest shows of tests that failed."""
        lab = cls(directory)
        try:
            cls.start(directory, *options)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("CLUSTERCTL_CONTEXT", str(directory / "context.yaml"))
                patch.setenv("CLUSTERCTL_LAB", str(directory))
                try:
                    yield lab
                finally:
                    for command in shown:
                        print(clusterctl(*command, check=False).stdout)
        finally:
            lab.down()

    def down(self) -> None:
        if (self.directory / "lab.json").exists():
            clusterctl("lab", "down", "--dir", str(self.directory))

    @property
    def plan(self) -> plan.Plan:
        return plan.load(self.directory)

    def lab(self, command: str, *arguments: str) -> dict[str, Any]:
        """`clusterctl lab COMMAND …`, its JSON."""
        options = ("--dir", str(self.directory), "-o", "json")
        status, output, errors = in_process("lab", command, *options, *arguments)
        assert status == 0, f"{command} {arguments}: {errors}"
        answer: dict[str, Any] = json.loads(output)
        return answer

    def run(self, node: str, *argv: str) -> tuple[int, str, str]:
        """Exit status, stdout, stderr of a program on a server."""
        lab = self.plan
        done = inside.run_on(lab, lab.node(node), argv)
        return done.returncode, done.stdout, done.stderr

    def output(self, node: str, *argv: str) -> str:
        """Of a program on a server that must succeed."""
        code, out, error = self.run(node, *argv)
        assert code == 0, f"{node} {argv}: {error}{out}"
        return out

    def exec(self, node: str, *argv: str) -> tuple[int, str, str]:
        """The same through `clusterctl lab exec -o json`."""
        options = ("--dir", str(self.directory), "-o", "json")
        done = clusterctl("lab", "exec", *options, node, "--", *argv, check=False)
        assert done.stdout, done.stderr
        answer = json.loads(done.stdout)
        return answer["returncode"], answer["stdout"], answer["stderr"]

    def server(self, name: str) -> dict[str, Any]:
        found = [each for each in self.lab("status")["servers"] if each["name"] == name]
        server: dict[str, Any] = found[0]
        return server

    def bmc(self, server: str, action: str) -> str:
        """`ipmitool … chassis power ACTION` from this machine; its output, errors included."""
        node = self.plan.server(server)
        done = subprocess.run(
            [
                *("ipmitool", "-I", "lanplus", "-C", "3", "-N", "1", "-R", "1"),
                *("-H", node.bmc_address, "-U", plan.BMC_USER),
                *("-f", str(self.plan.password_file(server)), "chassis", "power", action),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return (done.stdout + done.stderr).strip()

    def reaches(self, node: str, address: str, port: int = 2379) -> bool:
        """Whether a TCP connection can be made from a node within a second."""
        program = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)"
        code, _, _ = self.run(node, "python3", "-c", program, address, str(port))
        return code == 0
