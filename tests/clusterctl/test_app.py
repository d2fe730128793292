"""Every failure ends in one sentence, one exit code and the next command; never in a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clusterctl.app import COMMANDS, run
from clusterctl.connection import CliContext
from clusterctl.settings import Choice, resolve
from reconciler.ports.store import Denied, Indeterminate, NoLeader, Unavailable
from tests.clusterctl.conftest import FakeCluster, SteadyClock


def test_all_commands_are_in_the_help_and_their_files_exist() -> None:
    listed = {name for names in COMMANDS.values() for name in names}
    import clusterctl.commands as package

    there = {path.stem for path in Path(package.__path__[0]).glob("[a-z]*.py")}
    assert there <= listed
    assert listed - there <= {"lab", "cluster", "demo"}


def test_help_of_every_command(cluster: FakeCluster) -> None:
    for names in COMMANDS.values():
        for name in set(names) - {"lab", "cluster", "demo"}:
            result = cluster.run(name, "--help")
            assert result.code == 0, name
            assert "Usage: clusterctl" in result.out


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (Unavailable("timed out"), 3, "no answer from the cluster's store"),
        (NoLeader("no leader"), 3, "no quorum"),
        (Denied("permission denied"), 8, "does not permit this"),
        (Indeterminate("timed out"), 3, "it may have been"),
        (PermissionError(13, "Permission denied", "/etc/x.key"), 8, "/etc/x.key"),
    ],
)
def test_known_errors(cluster: FakeCluster, error: Exception, code: int, words: str) -> None:
    cluster.store_errors.append(error)
    result = cluster.run("status")
    assert result.code == code
    assert words in result.err
    assert "next: " in result.err
    assert "Traceback" not in result.err


def test_a_fault_of_ours_is_one_line_and_70(cluster: FakeCluster) -> None:
    cluster.store_errors.append(RuntimeError("a\nb"))
    result = cluster.run("status")
    assert result.code == 70
    assert result.err == "internal error: RuntimeError: a b (report with --debug)\n"
    assert "Traceback" in cluster.run("--debug", "status").err


def test_no_etcd_is_3_within_the_timeout() -> None:
    code = run(["status", "--endpoints", "http://127.0.0.1:1", "--cluster", "x"], CliContext(
        choice=Choice(timeout_s=0.5)
    ))  # fmt: skip
    assert code == 3


def test_no_cluster_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["get", "groups", "--context", str(tmp_path / "none.yaml")]) == 2
    assert run(["get", "groups", "--endpoints", "http://127.0.0.1:1"]) in (3, 8)
    assert "next: " in capsys.readouterr().err


def test_unknown_commands_and_options(cluster: FakeCluster) -> None:
    result = cluster.run("statsu")
    assert result.code == 2
    assert "no such command: statsu, did you mean 'status'?" in result.err
    assert cluster.run("status", "--nope").code == 2
    assert cluster.run("get", "groups", "-o", "xml").code == 2


def test_options_may_stand_after_the_command(cluster: FakeCluster) -> None:
    cluster.applied()
    assert cluster.run("get", "groups", "-o", "name", "--cluster", "demo").out == "group/web\n"
    assert cluster.run("get", "groups", "-o", "name", "--cluster", "other").out == ""
    assert cluster.run("status", "--timeout", "2s").code == 0
    assert cluster.run("schema", "Group", "--no-color").code == 0


def test_the_context_file_and_what_overrides_it(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("pem")
    path = tmp_path / "context.yaml"
    path.write_text(
        "cluster: prod\nendpoints: [https://10.0.0.1:2379, '10.0.0.2:2379']\n"
        "ca: ca\ncert: cert\nkey: key\n"
    )
    found = resolve(Choice(context=str(path)))
    assert found.cluster == "prod"
    assert found.endpoints == ("https://10.0.0.1:2379", "https://10.0.0.2:2379")
    assert found.tls is not None
    assert found.tls.key == str(tmp_path / "key")
    other = resolve(Choice(context=str(path), cluster="test", endpoints="http://[::1]:1,"))
    assert (other.cluster, other.endpoints, other.tls) == ("test", ("http://[::1]:1",), None)


@pytest.mark.parametrize("text", ["a: [", "- list", "clustr: x\n", "\x00", "cluster: x\n"])
def test_wrong_context_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    path = tmp_path / "context.yaml"
    path.write_text(text)
    assert run(["get", "groups", "--context", str(path)]) in (2, 3)
    assert "Traceback" not in capsys.readouterr().err


def test_a_malformed_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["get", "groups", "--endpoints", "http://", "--cluster", "x"]) in (2, 3)
    assert "internal error" not in capsys.readouterr().err


def test_output_without_terminal_has_no_colours(cluster: FakeCluster) -> None:
    assert "\x1b[" not in cluster.online().run("status").out


def test_version_and_completion(cluster: FakeCluster) -> None:
    assert json.loads(cluster.run("version", "-o", "json").out)["clusterctl"]
    assert cluster.online().run("version", "--all").out.count("agent/") == 3
    assert "_CLUSTERCTL_COMPLETE" in cluster.run("completion", "bash").out


def test_status_imports_neither_rich_nor_grpc_before_it_knows_the_store() -> None:
    code = (
        "import sys\nfrom clusterctl.app import run\nrun(['--help'])\n"
        "sys.exit(any(m in sys.modules for m in ('rich', 'grpc', 'pydantic', 'ruamel.yaml')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0


def test_a_closed_pipe_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "clusterctl.app", "schema", "Group"],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 141


def test_steady_clock_is_a_clock() -> None:
    assert SteadyClock().now() <= SteadyClock().now()
