"""The main board of one lab server: makes its namespaces, boots its init, and resets it when the
server asks for that with reboot(2). Forked by power.py, ends when the power goes.

Standard library only. It runs in the lab's network namespace, where the other ends of the server's
network cables are.
"""

import contextlib
import os
import signal
import traceback
from pathlib import Path
from typing import NoReturn

from clusterctl.lab import init, kernel, links, plan, power

NAMESPACES = (
    kernel.CLONE_NEWNS
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWCGROUP
)
# how the stage process tells the board what ended the server
RESET, POWERED_OFF, CRASHED = 64, 65, 66


def boot(lab: plan.Plan, node: plan.Node) -> int:
    """Boot once; returns the pid of the stage process, whose exit status says how it ended.

    The stage stands between board and init, because a process that made a PID namespace can not
    make another one.
    """
    directory = lab.node_directory(node.name)
    cgroup = lab.cgroup / node.name
    _remove_cgroups(cgroup)
    cgroup.mkdir(exist_ok=True)
    links.remove_cables(node)
    links.unmute(node)
    from_init, to_board = os.pipe()
    from_board, to_init = os.pipe()
    stage = os.fork()
    if stage == 0:
        os.close(from_init)
        os.close(to_init)
        _stage(lab, node, from_board, to_board)
    os.close(to_board)
    os.close(from_board)
    with os.fdopen(from_init) as answers, os.fdopen(to_init, "w") as go:
        pid = int(answers.readline() or 0)
        if not pid:
            raise plan.LabError("its namespaces can not be made, see board.log")
        start = kernel.process_start(pid) or 0
        links.plug_cables(lab, node, pid)
        go.write("go\n")
        go.flush()
        boot_id = answers.readline().strip()
    if not boot_id or boot_id.startswith("!"):
        raise plan.LabError(boot_id[1:] or "its init ended while booting, see board.log")
    power.write(directory, power.Power(on=True, init=pid, start=start, boot_id=boot_id))
    power.note(directory, "on")
    return stage


def _stage(lab: plan.Plan, node: plan.Node, from_board: int, to_board: int) -> None:
    """Child of the board: never returns."""
    try:
        # the server must hold nothing of the world outside
        low, high = sorted((from_board, to_board))
        os.closerange(3, low)
        os.closerange(low + 1, high)
        os.closerange(high + 1, 1024)
        (lab.cgroup / node.name / "cgroup.procs").write_text("0")
        kernel.unshare(NAMESPACES)
        child = os.fork()
        if child == 0:
            init.main(lab, node, from_board, to_board)
        os.write(to_board, f"{child}\n".encode())
        os.close(to_board)
        os.close(from_board)
        _, status = os.waitpid(child, 0)
        os._exit(_ending(status))
    except BaseException:  # noqa: BLE001 - a forked child must not return into its parent's code
        traceback.print_exc()
        os._exit(CRASHED)


def _ending(status: int) -> int:
    """The kernel ends init with SIGHUP for a restart and SIGINT for halt or power-off."""
    if os.WIFSIGNALED(status):
        return {1: RESET, 2: POWERED_OFF}.get(os.WTERMSIG(status), CRASHED)
    return CRASHED


def _remove_cgroups(cgroup: Path) -> None:
    """Remove what the last boot made below its cgroup root; all of it is empty."""
    if cgroup.is_dir():
        for directory, _, _ in os.walk(cgroup, topdown=False):
            Path(directory).rmdir()


def live(lab: plan.Plan, node: plan.Node, ready: int) -> NoReturn:
    """Body of the forked board: boot, write `ready` or a reason to the pipe, then live as long as
    the server does."""
    status = 1
    try:
        log_directory = lab.node_directory(node.name) / "log"
        log_directory.mkdir(parents=True, exist_ok=True)
        log = os.open(log_directory / "board.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(ready, 3)
        os.closerange(4, 1024)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        (lab.cgroup / "lab" / "cgroup.procs").write_text("0")
        stage = boot(lab, node)
        os.write(3, b"ready\n")
        os.close(3)
        _run(lab, node, stage)
        status = 0
    except BaseException as error:  # noqa: BLE001 - a forked child must not return to its parent's code
        traceback.print_exc()
        with contextlib.suppress(OSError):
            os.write(3, f"{error}\n".encode())
    os._exit(status)


def _run(lab: plan.Plan, node: plan.Node, stage: int) -> None:
    """Wait for the end of the server, however often it resets itself."""
    directory = lab.node_directory(node.name)
    while True:
        own = power.own_file_systems(lab, node)
        _, status = os.waitpid(stage, 0)
        ending = os.waitstatus_to_exitcode(status)
        mine = power.read(directory)
        with power.locked(directory):
            if power.read(directory) != mine or not mine.on:
                return  # somebody pressed a button meanwhile and has dealt with it
            power.stop(lab, node, own)
            if ending == POWERED_OFF:
                power.write(directory, power.Power(on=False))
            if ending != RESET:
                return
            stage = boot(lab, node)
