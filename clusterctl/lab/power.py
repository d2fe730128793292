"""Power of one lab server, as its BMC sees it: the program that the BMC simulator calls.

    python -S -m clusterctl.lab.power DIRECTORY SERVER get power
    python -S -m clusterctl.lab.power DIRECTORY SERVER set power 0

*off* is only ever said when it is true: init killed and its PID namespace empty, links down, loop
devices detached. A crashed server still reads *on*. Standard library only and started with -S:
this program is part of each fencing in the lab. It must run in the lab's network namespace.
"""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from clusterctl.lab import kernel, plan

KILL_TIMEOUT_S = 10.0
BOOT_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Power:
    """DIRECTORY/servers/NAME/power.json. `init` is the host's pid of the server's PID 1, `start`
    its start time; both 0 when it never ran."""

    on: bool = False
    init: int = 0
    start: int = 0
    boot_id: str = ""

    @property
    def running(self) -> bool:
        return self.on and self.init > 0 and kernel.process_start(self.init) == self.start


def read(directory: Path) -> Power:
    """Power of the server whose files are in `directory`."""
    try:
        return Power(**json.loads((directory / "power.json").read_text()))
    except FileNotFoundError:
        return Power()


def write(directory: Path, power: Power) -> None:
    temporary = directory / "power.new"
    temporary.write_text(json.dumps(asdict(power)))
    temporary.replace(directory / "power.json")


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One change of a server's power at a time."""
    descriptor = os.open(directory / "power.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def on(lab: plan.Plan, node: plan.Node) -> None:
    """Power on; a server that is on already, even crashed, stays as it is."""
    directory = lab.node_directory(node.name)
    with locked(directory):
        if not read(directory).on:
            _start_board(lab, node)


def off(lab: plan.Plan, node: plan.Node) -> None:
    """Power off; raises `LabError` when the server could not be stopped."""
    directory = lab.node_directory(node.name)
    with locked(directory):
        stop(lab, node)
        write(directory, Power(on=False))


def crash(lab: plan.Plan, node: plan.Node) -> None:
    """As a kernel panic: all gone at once, and the BMC still says *on*."""
    with locked(lab.node_directory(node.name)):
        stop(lab, node)


def reset(lab: plan.Plan, node: plan.Node) -> None:
    """The reset button; a server that is off stays off."""
    directory = lab.node_directory(node.name)
    with locked(directory):
        if read(directory).on:
            stop(lab, node)
            write(directory, Power(on=False))
            _start_board(lab, node)


def stop(lab: plan.Plan, node: plan.Node) -> None:
    """End everything that runs in the server. The caller holds the lock."""
    power = read(lab.node_directory(node.name))
    if power.init and not kernel.kill_and_wait(power.init, power.start, KILL_TIMEOUT_S):
        raise plan.LabError(f"{node.name}: its init (pid {power.init}) does not die")
    _empty_cgroup(lab.cgroup / node.name)
    for network in node.addresses:
        kernel.link_down(plan.port_name(node, network))
    kernel.detach_loops(lab.node_directory(node.name))


def _empty_cgroup(cgroup: Path) -> None:
    """Kill what is left in the server's cgroup (nothing, as a rule) and wait until it is empty."""
    deadline = time.monotonic() + KILL_TIMEOUT_S
    try:
        while "populated 1" in (cgroup / "cgroup.events").read_text():
            (cgroup / "cgroup.kill").write_text("1")
            if time.monotonic() > deadline:
                raise plan.LabError(f"{cgroup}: processes do not die")
            time.sleep(0.001)
    except FileNotFoundError:
        return  # never powered on


def _start_board(lab: plan.Plan, node: plan.Node) -> None:
    """Start the server's board and return when its init runs; the caller holds the lock."""
    ready, theirs = os.pipe()
    try:
        subprocess.Popen(
            [
                *(lab.python, "-S", "-m", "clusterctl.lab.board"),
                *(str(lab.directory), node.name, str(theirs)),
            ],
            env={"PYTHONPATH": str(lab.source), "PATH": os.environ.get("PATH", os.defpath)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs,),
            start_new_session=True,
        )
        os.close(theirs)
        theirs = -1
        with os.fdopen(ready, closefd=False) as answer:
            text = answer.readline().strip()
    finally:
        os.close(ready)
        if theirs >= 0:
            os.close(theirs)
    if text != "ready":
        raise plan.LabError(f"{node.name} does not boot: {text or 'see its board.log'}")


def answer(lab: plan.Plan, node: plan.Node, operation: str, words: Sequence[str]) -> list[str]:
    """One call of the BMC simulator; returns the lines it wants to read."""
    if operation == "get":
        return [f"{word}:{_value(lab, node, word)}" for word in words]
    for parameter, value in zip(words[::2], words[1::2], strict=False):
        match parameter, value:
            case "power", "1":
                on(lab, node)
            case ("power", _) | ("shutdown", _):
                off(lab, node)
            case "reset", _:
                reset(lab, node)
            case "identify", _:
                (lab.node_directory(node.name) / "identify").write_text(value)
            case _:
                pass  # boot devices and the like: a lab server has only one
    return []


def _value(lab: plan.Plan, node: plan.Node, word: str) -> str:
    if word == "power":
        return "1" if read(lab.node_directory(node.name)).on else "0"
    return "none" if word == "boot" else "0"


def main(arguments: Sequence[str]) -> int:
    # the simulator's sockets are inherited: kept open here they would keep its port taken
    os.closerange(3, 1024)
    directory, name, operation, *words = arguments
    try:
        lab = plan.load(Path(directory))
        node = lab.node(name)
        if operation in ("on", "off", "crash", "reset"):
            {"on": on, "off": off, "crash": crash, "reset": reset}[operation](lab, node)
        else:
            sys.stdout.write("".join(f"{line}\n" for line in answer(lab, node, operation, words)))
    except (plan.LabError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
