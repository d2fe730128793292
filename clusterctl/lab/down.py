"""`clusterctl lab down`: leave nothing behind, whatever state the lab is in.

All processes of a lab are in one cgroup, which is killed at once; with them end their namespaces,
mounts, bridges and cables. What the kernel does not take back by itself is removed here.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

from clusterctl.lab import fuse, loops, plan, power
from clusterctl.lab.root import ROOT_CGROUP

KILL_TIMEOUT_S = 15.0
MADE = ("servers", "bmc", "secrets", "shared", "specs", "log")
FILES = ("control.sock", "context.yaml", "root.json", "lab.json")
MARKER = ".clusterctl-lab"  # says that the directories of MADE are a lab's, so may be deleted


def take_down(lab: plan.Plan, index_directory: Path, *, keep_files: bool = False) -> None:
    """Remove processes, cgroups, links, loop devices and (unless kept) files of the lab.

    Idempotent; raises `LabError` if something can not be removed.
    """
    own = loops.attached_on(set().union(*(power.own_file_systems(lab, node) for node in lab.nodes)))
    fuse.abort(set().union(*(power.own_connections(lab, node) for node in lab.nodes)))
    if lab.cgroup.is_dir():
        for part in sorted(lab.cgroup.iterdir()):
            if part.is_dir() and part.name != ROOT_CGROUP:
                _kill(part)
    _kill(lab.cgroup)
    for network in plan.NETWORKS:
        _delete_link(plan.host_interface(lab.lab_id, network))
    loops.detach(lab.directory, own)
    _remove_cgroup(lab.cgroup)
    entry = index_directory / str(lab.index)
    if entry.exists() and entry.read_text() == str(lab.directory):
        entry.unlink()
    if not keep_files:
        remove_files(lab.directory)
    for name in FILES:
        (lab.directory / name).unlink(missing_ok=True)
    for leftover in lab.directory.glob("*.new"):
        leftover.unlink(missing_ok=True)
    if not keep_files and lab.directory.exists() and not any(lab.directory.iterdir()):
        lab.directory.rmdir()


def remove_files(directory: Path) -> None:
    """Delete what an earlier lab left in `directory`; refuses directories that no lab made."""
    present = [name for name in MADE if (directory / name).exists()]
    if present and not (directory / MARKER).exists():
        raise plan.LabError(
            f"{directory} has a directory {present[0]!r} that is not a lab's: choose another --dir"
        )
    for name in present:
        shutil.rmtree(directory / name, onerror=_gone_is_fine)
    (directory / MARKER).unlink(missing_ok=True)


def _gone_is_fine(function: object, path: str, info: tuple[object, BaseException, object]) -> None:  # noqa: ARG001
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]


def _kill(cgroup: Path) -> None:
    deadline = time.monotonic() + KILL_TIMEOUT_S
    try:
        while "populated 1" in (cgroup / "cgroup.events").read_text():
            (cgroup / "cgroup.kill").write_text("1")
            if time.monotonic() > deadline:
                raise plan.LabError(f"processes in {cgroup} do not die")
            time.sleep(0.005)
    except FileNotFoundError:
        return


def _remove_cgroup(cgroup: Path) -> None:
    """Processes that just died keep a cgroup busy for a moment."""
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while cgroup.exists():
        try:
            for directory, _, _ in os.walk(cgroup, topdown=False):
                Path(directory).rmdir()
        except OSError as error:
            if time.monotonic() > deadline:
                raise plan.LabError(f"{cgroup} can not be removed: {error.strerror}") from error
            time.sleep(0.01)


def _delete_link(name: str) -> None:
    if not Path(f"/sys/class/net/{name}").exists():
        return
    subprocess.run(["ip", "link", "delete", name], capture_output=True, timeout=15, check=False)
    # it may have gone by itself meanwhile, with the network namespace of its other end
    if Path(f"/sys/class/net/{name}").exists():
        raise plan.LabError(f"the network interface {name} can not be deleted")
