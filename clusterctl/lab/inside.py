"""Running programs inside a lab or one of its servers, and asking its daemon. Used by the commands.

Everything that is started joins the lab's cgroup first, so that no process can outlive the lab.
"""

import json
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clusterctl.lab import kernel, plan, power
from clusterctl.lab.init import environment

CALL_TIMEOUT_S = 60.0
CONTROL_TIMEOUT_S = 15.0
MODULES = {
    "reconciler.agent": "agent",
    "reconciler.pulse": "pulse",
    "clusterctl.bootstrap.enrolment": "enrolment",
    "reconciler.runner": "runner",
    "reconciler.probe": "probe",
}


def root_pid(lab: plan.Plan) -> int:
    """The lab's outermost process; raises `LabError` when it is gone."""
    try:
        state = json.loads((lab.directory / "root.json").read_text())
    except (OSError, ValueError) as error:
        raise plan.LabError(f"the lab in {lab.directory} is not up") from error
    if kernel.process_start(state["pid"]) != state["start"]:
        raise plan.LabError(
            f"the lab in {lab.directory} was killed; clean up with: clusterctl lab down"
        )
    return int(state["pid"])


def argv_in_lab(lab: plan.Plan, argv: Sequence[str]) -> list[str]:
    """`argv` in the lab's own network and mount namespace."""
    return ["nsenter", "--target", str(root_pid(lab)), "--net", "--mount", "--", *argv]


def argv_on(lab: plan.Plan, node: plan.Node, argv: Sequence[str]) -> list[str]:
    """`argv` in all namespaces of a running server or the client."""
    state = power.read(lab.node_directory(node.name))
    if not state.running:
        how = "has crashed" if state.on else "is off"
        raise plan.LabError(f"{node.name} {how}: clusterctl lab power {node.name} on")
    spaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
    return ["nsenter", "--target", str(state.init), *spaces, "--wd=/", "--", *argv]


def node_environment(lab: plan.Plan) -> dict[str, str]:
    """The environment of programs on a server; the terminal's own settings are passed through."""
    kept = {key: os.environ[key] for key in ("TERM", "NO_COLOR", "COLUMNS") if key in os.environ}
    return {**environment(lab), **kept}


def join_cgroup(lab: plan.Plan, name: str) -> None:
    """Put this process into the cgroup of a server, or of the lab itself (`lab`)."""
    (lab.cgroup / name / "cgroup.procs").write_text("0")


def start_on(lab: plan.Plan, node: plan.Node, argv: Sequence[str]) -> subprocess.Popen[str]:
    """Start a program on a server, its three streams being pipes."""
    return subprocess.Popen(
        argv_on(lab, node, argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=node_environment(lab),
        preexec_fn=lambda: join_cgroup(lab, node.name),  # noqa: PLW1509 (no threads here)
    )


def run_on(
    lab: plan.Plan,
    node: plan.Node,
    argv: Sequence[str],
    *,
    stdin: str = "",
    timeout_s: float = CALL_TIMEOUT_S,
) -> subprocess.CompletedProcess[str]:
    """Run a program on a server and wait; never raises for its exit status."""
    with start_on(lab, node, argv) as process:
        try:
            output, errors = process.communicate(stdin, timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(list(argv), process.returncode, output, errors)


def run_in_lab(
    lab: plan.Plan, argv: Sequence[str], stdin: str = "", timeout_s: float = CALL_TIMEOUT_S
) -> str:
    """Run a program in the lab's own namespaces; returns its output, raises `LabError` with its
    error text if it fails."""
    done = subprocess.run(
        argv_in_lab(lab, argv),
        input=stdin,
        text=True,
        capture_output=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, **environment(lab)},
    )
    if done.returncode:
        raise plan.LabError(f"{argv[0]} in the lab: {done.stderr.strip() or done.returncode}")
    return done.stdout


def press(lab: plan.Plan, nodes: Sequence[plan.Node], action: str) -> None:
    """`on`, `off`, `crash` or `reset` of servers, the way a BMC does it; all at the same time."""
    program = [lab.python, "-S", "-m", "clusterctl.lab.power", str(lab.directory)]
    started = [
        subprocess.Popen(
            argv_in_lab(lab, [*program, node.name, action]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment(lab)},
        )
        for node in nodes
    ]
    failures = []
    for process in started:
        _, errors = process.communicate(timeout=CALL_TIMEOUT_S)
        if process.returncode:
            failures.append(errors.strip())
    if failures:
        raise plan.LabError("; ".join(failures))


def ask_daemon(lab: plan.Plan, question: Mapping[str, Any]) -> dict[str, Any]:
    """One question to the lab's daemon; raises `LabError` if it does not answer."""
    directory = os.open(lab.directory, os.O_PATH | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(CONTROL_TIMEOUT_S)
            # a socket's path may have 107 characters only, the lab's directory may have more
            connection.connect(f"/proc/self/fd/{directory}/control.sock")
            connection.sendall(json.dumps(dict(question)).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer: dict[str, Any] = json.loads(lines.readline())
    except (OSError, ValueError) as error:
        raise plan.LabError(f"the lab's daemon does not answer ({error})") from error
    finally:
        os.close(directory)
    if "error" in answer:
        raise plan.LabError(str(answer["error"]))
    return answer


def processes(node_power: power.Power) -> dict[str, list[int]]:
    """Host pids of the known programs of one server: etcd, agent, pulse, enrolment, and the
    agent's runners and probe."""
    found: dict[str, list[int]] = {name: [] for name in ("etcd", *MODULES.values())}
    if not node_power.running:
        return found
    space = Path(f"/proc/{node_power.init}/ns/pid").stat().st_ino
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "ns/pid").stat().st_ino != space or int(entry.name) == node_power.init:
                continue
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended between two looks
        kind = _kind(command)
        if kind:
            found[kind].append(int(entry.name))
    return found


def _kind(command: Sequence[bytes]) -> str | None:
    words = [word.decode(errors="replace") for word in command]
    if words[0].rpartition("/")[2] == "etcd":
        return "etcd"
    return next((MODULES[word] for word in words[1:] if word in MODULES), None)
