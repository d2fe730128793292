"""Mistakes of people: each ends in one sentence with the next command."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.faults import marks
from tests.integration.lab_under_test import SOURCE, LabUnderTest, eventually, in_process

NOBODY = 65534
AS_NOBODY = f"""
import os, sys
import clusterctl.commands.lab, clusterctl.commands.demo, clusterctl.lab.up
from clusterctl import app
os.setgid({NOBODY}); os.setuid({NOBODY})
sys.argv[0] = "clusterctl"
raise SystemExit(app.run(sys.argv[1:]))
"""
NO_STORE = ("--endpoints", "http://127.0.0.1:9", "--cluster", "demo", "--timeout", "500ms")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else")
@pytest.mark.parametrize("words", [("lab", "up"), ("lab", "down"), ("demo",)])
def test_without_root_it_is_8_and_a_sentence(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *words],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 8, done.stderr
    said = done.stderr.strip().splitlines()
    assert "root" in said[0]
    assert len(said) == 2
    assert said[1].startswith("next: sudo clusterctl"), said


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("get", "group"),
        ("events",),
        ("move", "group/web"),
        ("fence", "confirm", "n1", "--yes-i-mean", "n1"),
        ("apply", "examples/01-web"),
    ],
)
def test_without_etcd_it_is_3_and_a_sentence(words: tuple[str, ...]) -> None:
    status, _, said = in_process(*NO_STORE, *words)
    assert status == 3, said
    lines = said.strip().splitlines()
    assert len(lines) == 2
    assert "127.0.0.1:9" in lines[0]
    assert lines[1].startswith("next: ")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """One server without a cluster."""
    lab = LabUnderTest.start(tmp_path_factory.mktemp("bare") / "d", "--servers", "1", "--bare")
    try:
        yield lab
    finally:
        lab.down()


LISTENER = """
import socket, sys
s = socket.create_server((sys.argv[1], int(sys.argv[2])))
open("/run/listens", "w").close()
sys.stdin.read()
"""


@pytest.mark.parametrize("port", [2379, 2380])
def test_a_port_in_use_is_said_before_anything_is_installed(bare: LabUnderTest, port: int) -> None:
    from clusterctl.lab import inside

    lab = bare.plan
    node = lab.servers[0]
    address = node.addresses["private"]
    bare.run("n1", "rm", "-f", "/run/listens")
    with inside.start_on(lab, node, ["python3", "-c", LISTENER, address, str(port)]) as holder:
        eventually(lambda: bare.run("n1", "ls", "/run/listens")[0] == 0, "the port is taken")
        networks = ("--private", lab.cidr("private"), "--public", lab.cidr("public"))
        addresses = ("--address", address, "--address", node.addresses["public"])
        init = ("clusterctl", "cluster", "init", "demo", "--server", "n1", *addresses, *networks)
        code, out, err = bare.run("n1", *init)
        holder.kill()
    assert code not in (0, 70), out + err
    assert "Traceback" not in err
    assert str(port) in err
    assert bare.run("n1", "ls", "/etc/clusterctl/agent.yaml")[0] != 0, "nothing was installed"


for _mark in marks.bounded:
    test_a_port_in_use_is_said_before_anything_is_installed = _mark(
        test_a_port_in_use_is_said_before_anything_is_installed
    )
