"""The outermost process of a lab: holds its network and mount namespace, starts the daemon, reaps
orphans, and presses power buttons for the BMC simulators.

    python -S -m clusterctl.lab.root DIRECTORY

Started by up.py into the lab's cgroup. Standard library only; it outlives its daemon and the
command that started it. Each server has two FIFOs, `button` and `lamp` (see power.sh); a press is
done in a forked child, because everything is loaded already and a fork costs milliseconds only.
"""

import contextlib
import json
import os
import select
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from clusterctl.lab import kernel, plan, power
from clusterctl.lab.init import environment

# apart from all others, so that it lives until it has reaped them
ROOT_CGROUP = "root"


def main(arguments: Sequence[str]) -> NoReturn:
    lab = plan.load(Path(arguments[0]))
    (lab.cgroup / ROOT_CGROUP / "cgroup.procs").write_text("0")
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWNET)
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    _state_directories(lab)
    kernel.set_subreaper()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    daemon = os.fork()
    if daemon == 0:
        (lab.cgroup / "lab" / "cgroup.procs").write_text("0")
        argv = [lab.python, "-m", "clusterctl.lab.daemon", str(lab.directory)]
        os.execve(argv[0], argv, {**os.environ, **environment(lab)})  # noqa: S606
    state = {"pid": os.getpid(), "start": kernel.process_start(os.getpid())}
    path = lab.directory / "root.json"
    path.with_suffix(".new").write_text(json.dumps(state))
    path.with_suffix(".new").replace(path)
    _serve(lab)


def _state_directories(lab: plan.Plan) -> None:
    """Where they are limited: mounted here, so that they outlive power cycles but not the lab."""
    if not lab.state_mib:
        return
    for node in lab.servers:
        state = lab.node_directory(node.name) / "state"
        state.mkdir(exist_ok=True, mode=0o700)
        kernel.mount("lab", str(state), "tmpfs", 0, f"mode=700,size={lab.state_mib}m")


def _serve(lab: plan.Plan) -> NoReturn:
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    panels = {_fifo(lab, node, "button"): (node, _fifo(lab, node, "lamp")) for node in lab.servers}
    poll = select.poll()
    for descriptor in (wake_read, *panels):
        poll.register(descriptor, select.POLLIN)
    while True:
        _reap()
        for descriptor, _ in poll.poll():
            if descriptor == wake_read:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake_read, 4096)
                continue
            node, lamp = panels[descriptor]
            for line in os.read(descriptor, 4096).decode(errors="replace").splitlines():
                _press(lab, node, lamp, line.split())


def _fifo(lab: plan.Plan, node: plan.Node, name: str) -> int:
    # read-write, so that neither end ever blocks in open or sees an end of file
    path = lab.node_directory(node.name) / name
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _press(lab: plan.Plan, node: plan.Node, lamp: int, words: Sequence[str]) -> None:
    """Do one press in a child and light the lamp with its id."""
    if not words or os.fork():
        return
    result = "failed"
    try:
        power.press(lab, node, words[1:])
        result = "ok"
    except (plan.LabError, OSError) as error:
        sys.stderr.write(f"{node.name}: {' '.join(words[1:])}: {error}\n")
    finally:
        os.write(lamp, f"{words[0]} {result}\n".encode())
        os._exit(0)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    main(sys.argv[1:])
