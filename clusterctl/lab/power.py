"""Power of one lab server: on, off, crash, reset.

Used by root.py for the BMC simulators (through power.sh) and as a program by `clusterctl lab`:

    python -S -m clusterctl.lab.power DIRECTORY SERVER on|off|crash|reset

*off* is only ever said when it is true: init killed and its PID namespace empty, links down, loop
devices detached. A crashed server still reads *on*. Standard library only; it must run in the lab's
network namespace.
"""

import contextlib
import errno
import fcntl
import json
import os
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from clusterctl.lab import fuse, kernel, loops, plan

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


def note(directory: Path, what: str) -> None:
    """Append to the server's power history, a JSON line {t, wall, power}: `t` is monotonic, taken
    after it was done. `stopped` is the end of everything in the server, whatever the BMC reads."""
    line = {"t": time.monotonic(), "wall": time.time(), "power": what}
    path = directory / "power-history.jsonl"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def write(directory: Path, power: Power) -> None:
    for name, text in (
        ("power.json", json.dumps(asdict(power))),
        ("power.bit", f"{int(power.on)}\n"),  # the same for power.sh
    ):
        temporary = directory / f"{name}.new"
        temporary.write_text(text)
        temporary.replace(directory / name)


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
        note(directory, "off")


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
            note(directory, "off")
            _start_board(lab, node)


def _outermost(lab: plan.Plan) -> int:
    """Pid of the lab's root process, 0 when it does not run any more. What its mount namespace has
    is this machine's, as of the start of the lab, but for what lies below the lab's directory."""
    try:
        state = json.loads((lab.directory / "root.json").read_text())
    except FileNotFoundError:
        return 0
    pid = int(state["pid"])
    return pid if kernel.process_start(pid) == state["start"] else 0


def own_connections(lab: plan.Plan, node: plan.Node) -> set[int]:
    """FUSE connections that only this server has."""
    power = read(lab.node_directory(node.name))
    return fuse.connections(power.init, _outermost(lab)) if power.running else set()


def own_file_systems(lab: plan.Plan, node: plan.Node) -> set[int]:
    """Device numbers of the file systems that only this server has: its memory and its overlays.
    Empty when it does not run, or when that can not be told any more."""
    directory = lab.node_directory(node.name)
    power, root = read(directory), _outermost(lab)
    if not root or not power.running:
        return set()
    try:
        outside = loops.file_systems(root)
        inside = loops.file_systems(power.init)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESRCH, errno.EINVAL):
            raise
        return set()  # one of them has just ended
    # a server sees what belongs to another one's directory as well
    return {
        number
        for number in inside
        if all(Path(target).is_relative_to(directory) for target in outside.get(number, ()))
    }


def stop(lab: plan.Plan, node: plan.Node, file_systems: Collection[int] = ()) -> None:
    """End everything that runs in the server. The caller holds the lock. `file_systems`: what
    `own_file_systems` said of an init that has ended just now."""
    directory = lab.node_directory(node.name)
    power = read(directory)
    mounted = loops.mounted(power.init) if power.running else {}
    root = _outermost(lab)
    for device in loops.mounted(root) if root else ():
        mounted.pop(device, None)  # this machine's: servers see them, and they stay
    own = loops.attached_on(own_file_systems(lab, node) | set(file_systems))
    served = own_connections(lab, node)
    if power.init:
        kernel.kill_and_wait(power.init, power.start, 0.0)
        fuse.abort(served)
    if power.init and not kernel.kill_and_wait(power.init, power.start, KILL_TIMEOUT_S):
        raise plan.LabError(f"{node.name}: its init (pid {power.init}) does not die")
    _empty_cgroup(lab.cgroup / node.name)
    for network in node.addresses:
        kernel.link_down(plan.port_name(node, network))
    loops.detach(directory, own)
    if not loops.gone(mounted, KILL_TIMEOUT_S):
        raise plan.LabError(f"{node.name}: what it had mounted is still being written")
    note(directory, "stopped")


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
    """Fork the server's board and return when its init runs; the caller holds the lock."""
    from clusterctl.lab import board

    ready, theirs = os.pipe()
    if os.fork() == 0:
        os.close(ready)
        board.live(lab, node, theirs)
    os.close(theirs)
    with os.fdopen(ready) as answer:
        text = answer.readline().strip()
    if text != "ready":
        raise plan.LabError(f"{node.name} does not boot: {text or 'see its board.log'}")


def press(lab: plan.Plan, node: plan.Node, words: Sequence[str]) -> None:
    """What a BMC simulator sets: pairs of parameter and value; raises `LabError` or `OSError`."""
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


def main(arguments: Sequence[str]) -> int:
    directory, name, action = arguments
    try:
        lab = plan.load(Path(directory))
        node = lab.node(name)
        {"on": on, "off": off, "crash": crash, "reset": reset}[action](lab, node)
    except (plan.LabError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
