"""`clusterctl lab up`: build a lab, power its servers on and install the cluster on them.

The cluster is installed with the same commands as on real servers: `clusterctl cluster init` on
the first, `cluster token` there and `cluster join` on the others.
"""

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from clusterctl.lab import down, inside, links, plan, power
from clusterctl.lab.root import ROOT_CGROUP

INDEX_DIRECTORY = Path("/run/clusterctl-lab")
SOURCE = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 30.0
INSTALL_TIMEOUT_S = 180.0
# program: the Debian package that has it
PROGRAMS = {
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "ipmi_sim": "openipmi",
    "etcd": "etcd-server",
}

Report = Callable[[str], None]


def require_programs(tools: tuple[str, ...]) -> None:
    """Raise `LabError` naming the packages of programs that are missing."""
    path = os.pathsep.join([*tools, os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    missing = {
        name: package for name, package in PROGRAMS.items() if not shutil.which(name, path=path)
    }
    if missing:
        raise plan.LabError(
            f"{', '.join(missing)} not found: apt-get install -y --no-install-recommends "
            f"{' '.join(sorted(set(missing.values())))}"
        )


def make_plan(
    directory: Path, name: str, count: int, state_mib: int = 0, profile: str = "default"
) -> plan.Plan:
    """Decide everything about a new lab and take its number; raises `LabError`."""
    if not 1 <= count <= plan.SERVER_LIMIT:
        raise plan.LabError(f"--servers must be between 1 and {plan.SERVER_LIMIT}")
    for taken in ("/etc", "/var", "/run", "/proc", "/sys", "/dev", "/srv"):
        if directory.is_relative_to(taken):
            raise plan.LabError(f"--dir can not lie in {taken}: every server gets its own {taken}")
    if (directory / "lab.json").exists():
        raise plan.LabError(f"there is a lab in {directory} already: clusterctl lab down first")
    source = SOURCE
    tools = tuple(str(each) for each in (source / ".tools/usr/bin",) if each.is_dir())
    require_programs(tools)
    cgroup_root = plan.find_cgroup_root()
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    down.remove_files(directory)
    (directory / down.MARKER).touch()
    index = _take_index(directory, cgroup_root)
    binaries = str(Path(sys.executable).parent)
    lab = plan.Plan(
        directory=directory,
        name=name,
        index=index,
        python=sys.executable,
        source=source,
        cgroup_root=cgroup_root,
        programs=(*tools, binaries),
        visible=tuple(dict.fromkeys([str(source), sys.prefix, sys.base_prefix])),
        nodes=plan.make_nodes(index, count),
        state_mib=state_mib,
        profile=profile,
    )
    lab.save()
    return lab


def bring_up(lab: plan.Plan, report: Report) -> None:
    """Everything until the servers run; nothing is installed on them."""
    _write_files(lab)
    for name in ("lab", ROOT_CGROUP):
        (lab.cgroup / name).mkdir(parents=True, exist_ok=True)
    _start_root(lab)
    links.plug_host(lab, inside.root_pid(lab))
    host_ports = [f"link set {links.host_port(n)} master {n} up" for n in plan.HOST_NETWORKS]
    inside.run_in_lab(lab, ["ip", "-batch", "-"], "\n".join(host_ports) + "\n")
    report(f"networks {lab.cidr('private')}, {lab.cidr('public')}, {lab.cidr('management')}")
    inside.press(lab, lab.nodes, "on")
    report(f"power on: {', '.join(node.name for node in lab.servers)}")


def _write_files(lab: plan.Plan) -> None:
    for name in ("servers", "bmc", "secrets", "shared", "log"):
        (lab.directory / name).mkdir(exist_ok=True, mode=0o700)
    for node in lab.servers:
        lab.bmc_directory(node.name).mkdir(exist_ok=True, mode=0o700)
        _write_secret(lab.password_file(node.name), secrets.token_hex(8))
    for node in lab.nodes:
        own = lab.node_directory(node.name)
        (own / "clusterctl" / "secrets").mkdir(parents=True, exist_ok=True, mode=0o700)
        power.write(own, power.Power())
        for fifo in ("button", "lamp"):
            os.mkfifo(own / fifo, 0o600)
        if node.number:
            for other in lab.servers:
                password = lab.password_file(other.name).read_text()
                _write_secret(own / "clusterctl" / "secrets" / f"bmc-{other.name}", password)


def _write_secret(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _start_root(lab: plan.Plan) -> None:
    """Start the lab's outermost process and wait until its daemon answers."""
    path = lab.directory / "log" / "daemon.log"
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    root = subprocess.Popen(
        [lab.python, "-S", "-m", "clusterctl.lab.root", str(lab.directory)],
        env={**os.environ, "PYTHONPATH": str(lab.source)},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    os.close(log)
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            inside.ask_daemon(lab, {"do": "status"})
        except plan.LabError as error:
            if root.poll() is not None or time.monotonic() > deadline:
                text = path.read_text().strip()
                last = text.splitlines()[-1] if text else str(error)
                raise plan.LabError(f"the lab does not start: {last}") from error
            time.sleep(0.02)
        else:
            return


def install(lab: plan.Plan, report: Report) -> None:
    """What a person would type on each server; what may run at the same time does."""
    first, *others = lab.servers
    program = [lab.python, "-m", "clusterctl.app", "cluster"]
    private, public = lab.cidr("private"), lab.cidr("public")
    _hold_agents(lab, hold=True)
    init = [
        *(*program, "init", lab.name, "--server", first.name, *_addresses(first)),
        *("--private", private, "--public", public, "--profile", lab.profile, "-o", "json"),
    ]
    _together(lab, "cluster init", [(first, init, "")])
    report(f"cluster {lab.name} begins on {first.name}")
    asks = [[*program, "token", "--server", node.name, "-o", "json"] for node in others]
    made = _together(lab, "cluster token", [(first, ask, "") for ask in asks])
    joins = []
    for node, answer in zip(others, made, strict=True):
        join = [*program, "join", "-", "--server", node.name, *_addresses(node), "-o", "json"]
        joins.append((node, join, json.loads(answer)["token"]))
    _together(lab, "cluster join", joins)
    report(f"joined: {', '.join(node.name for node in others)}")
    refresh = [*program, "refresh", "-o", "json"]
    _together(lab, "cluster refresh", [(node, refresh, "") for node in lab.servers])
    _hold_agents(lab, hold=False)


def _hold_agents(lab: plan.Plan, *, hold: bool) -> None:
    """Agents start when their configuration names every member of the store, not before."""
    for node in lab.servers:
        switch = lab.node_directory(node.name) / "clusterctl" / "disabled" / "agent"
        if hold:
            switch.parent.mkdir(exist_ok=True, mode=0o700)
            switch.touch()
        else:
            switch.unlink()


def _together(
    lab: plan.Plan, what: str, jobs: Sequence[tuple[plan.Node, list[str], str]]
) -> list[str]:
    """Run (server, command, input) side by side; returns their outputs, raises `LabError`."""
    started = [inside.start_on(lab, node, argv) for node, argv, _ in jobs]
    for process, (_, _, text) in zip(started, jobs, strict=True):
        if process.stdin is not None:
            process.stdin.write(text)  # a token fits into a pipe, so this never blocks
            process.stdin.close()
            process.stdin = None
    outputs, failures = [], []
    for process, (node, _, _) in zip(started, jobs, strict=True):
        with process:
            output, errors = process.communicate(timeout=INSTALL_TIMEOUT_S)
        if process.returncode:
            text = (errors.strip() or output.strip() or f"exit {process.returncode}")[-2000:]
            failures.append(f"{what} on {node.name}: {text}")
        outputs.append(output)
    if failures:
        raise plan.LabError("; ".join(failures))
    return outputs


def _addresses(node: plan.Node) -> list[str]:
    pair = ("private", "public")
    return [word for network in pair for word in ("--address", node.addresses[network])]


@contextmanager
def _index_lock() -> Iterator[None]:
    INDEX_DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(INDEX_DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _take_index(directory: Path, cgroup_root: Path) -> int:
    """The first free number: it decides the addresses, so that labs run side by side."""
    with _index_lock():
        for index in range(plan.INDEX_LIMIT):
            entry = INDEX_DIRECTORY / str(index)
            if entry.exists():
                owner = Path(entry.read_text())
                alive = (cgroup_root / plan.cgroup_name(owner)).exists()
                if alive or ((owner / "lab.json").exists() and owner != directory):
                    continue
            elif _in_use(index):
                continue
            entry.write_text(str(directory))
            return index
    raise plan.LabError(f"too many labs are up, see {INDEX_DIRECTORY}: clusterctl lab down")


def _in_use(index: int) -> bool:
    """Whether this machine routes to those addresses already."""
    done = subprocess.run(
        ["ip", "-json", "route", "show", "root", f"10.77.{index * 4}.0/22"],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    return done.returncode == 0 and done.stdout.strip() not in ("", "[]")


def running_labs() -> list[Path]:
    """Directories of the labs that this machine knows."""
    if not INDEX_DIRECTORY.is_dir():
        return []
    owners = [Path(entry.read_text()) for entry in sorted(INDEX_DIRECTORY.iterdir())]
    return [owner for owner in owners if (owner / "lab.json").exists()]
