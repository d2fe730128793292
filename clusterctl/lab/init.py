"""PID 1 of a lab server: mounts, addresses, boot id, then a small supervisor until the power goes.

Forked by board.py into fresh namespaces. Standard library only. What it starts is what systemd
starts on a real server: etcd, the enrolment service where the CA key is, and the agent. No process
that it starts can tell that it is in a lab.
"""

import contextlib
import os
import select
import signal
import socket
import sys
import time
import traceback
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from clusterctl.lab import kernel, links, plan

POLL_S = 0.05
BACKOFF_FIRST_S = 0.1
BACKOFF_LAST_S = 5.0
STABLE_S = 10.0
STAY_AWAY = 75  # as RestartPreventExitStatus= of the agent's unit
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SYSRQ = Path("/proc/sysrq-trigger")
# PID 1 acts on the first and must not end by the others
CHANGED_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
DISABLED = Path("/etc/clusterctl/disabled")
SYSRQ_KEYS = "/run/sysrq-trigger"
WATCHDOG = "/run/watchdog"


@dataclass(slots=True)
class Service:
    """One supervised program. It starts as soon as every file of `needs` is there, and not while
    /etc/clusterctl/disabled/NAME is, as with a disabled unit."""

    name: str
    argv: list[str]
    needs: list[Path]
    pid: int = 0
    started: float = 0.0
    not_before: float = 0.0
    backoff: float = field(default=BACKOFF_FIRST_S)


def main(lab: plan.Plan, node: plan.Node, from_board: int, to_board: int) -> NoReturn:
    """Never returns: if it fails, its exit is the server's crash."""
    try:
        if os.read(from_board, 3) != b"go\n":
            raise OSError("the board went away")
        _mounts(lab, node)
        _network(lab, node)
        boot_id = str(uuid.uuid4())
        run = Path("/run/clusterctl")
        run.mkdir(mode=0o700)
        (run / "boot-id").write_text(boot_id + "\n")
        os.chdir("/")
        os.write(to_board, f"{boot_id}\n".encode())
        os.close(to_board)
        os.close(from_board)
        _supervise(_services(lab, node), environment(lab))
    except BaseException as error:  # noqa: BLE001 - PID 1 must not unwind into the board's code
        traceback.print_exc()
        with contextlib.suppress(OSError):
            os.write(to_board, f"!{error}\n".encode())
    os._exit(70)


def environment(lab: plan.Plan) -> dict[str, str]:
    """What every process of a server gets; also used by `lab exec`."""
    return {
        "PATH": ":".join([*lab.programs, PATH]),
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(lab.source),
        "PYTHONDONTWRITEBYTECODE": "1",
        # lets a test make the wall clock of one server wrong; nobody else's may be touched
        "CLUSTERCTL_WALL_OFFSET_FILE": "/run/clusterctl/wall-offset",
    }


def _services(lab: plan.Plan, node: plan.Node) -> list[Service]:
    if not node.number:
        return []
    configuration = Path("/etc/clusterctl")
    return [
        Service(
            "etcd",
            ["etcd", "--config-file", str(configuration / "etcd.yaml")],
            [configuration / "etcd.yaml"],
        ),
        Service(
            "enrolment",
            [lab.python, "-m", "clusterctl.bootstrap.enrolment"],
            [configuration / "pki/ca.key", configuration / "cluster.json"],
        ),
        Service(
            "agent",
            [lab.python, "-m", "reconciler.agent"],
            [configuration / "agent.yaml", lab.source / "reconciler/agent.py"],
        ),
    ]


def _mounts(lab: plan.Plan, node: plan.Node) -> None:
    """The host's files, read-only; /etc and /var as a disk that survives power cycles; /run, /tmp
    and /dev/shm as memory that does not."""
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    own = lab.node_directory(node.name)
    kept = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in lab.visible}
    own_descriptor = os.open(own, os.O_PATH | os.O_CLOEXEC)
    shared = os.open(lab.directory / "shared", os.O_PATH | os.O_CLOEXEC)
    for name in ("etc", "var"):
        upper, work = own / "disk" / name, own / "disk" / f"{name}.work"
        upper.mkdir(parents=True, exist_ok=True)
        work.mkdir(exist_ok=True)
        kernel.mount(
            "lab", f"/{name}", "overlay", 0, f"lowerdir=/{name},upperdir={upper},workdir={work}"
        )
    rooms = {
        "/etc/clusterctl": "clusterctl",
        "/var/lib/clusterctl": "state",
        "/var/log/clusterctl": "log",
    }
    for target, name in rooms.items():
        (own / name).mkdir(exist_ok=True, mode=0o700)
        Path(target).mkdir(parents=True, exist_ok=True)
        kernel.bind(f"/proc/self/fd/{own_descriptor}/{name}", target)
    kernel.bind(f"/proc/self/fd/{shared}", "/srv")
    kernel.read_only_everywhere()
    for target in ("/etc", "/var", "/srv", *rooms):
        kernel.writable(target)
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    for target, mode in (("/run", "755"), ("/tmp", "1777"), ("/dev/shm", "1777")):  # noqa: S108
        kernel.mount("lab", target, "tmpfs", flags, f"mode={mode}")
    for path, descriptor in kept.items():
        if not Path(path).exists():
            Path(path).mkdir(parents=True)
            kernel.bind(f"/proc/self/fd/{descriptor}", path)
        os.close(descriptor)
    if node.number:
        # the machine's own devices, if it has any, must be out of reach
        Path(WATCHDOG).touch()
        kernel.bind(f"/proc/self/fd/{own_descriptor}/watchdog", WATCHDOG)
    for device in Path("/dev").glob("watchdog*"):
        kernel.bind(WATCHDOG if node.number else os.devnull, str(device))
    os.close(own_descriptor)
    os.close(shared)
    _kernel_file_systems()
    socket.sethostname(node.name)
    _hosts(lab, node)


def _kernel_file_systems() -> None:
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("proc", "/proc", "proc", flags)
    # the real trigger would reach the machine that the lab runs on
    os.mkfifo(SYSRQ_KEYS, 0o600)
    if SYSRQ.exists():
        kernel.bind(SYSRQ_KEYS, str(SYSRQ))
    kernel.mount("sysfs", "/sys", "sysfs", flags)
    kernel.mount("cgroup", "/sys/fs/cgroup", "cgroup2", flags)


def _hosts(lab: plan.Plan, node: plan.Node) -> None:
    Path("/etc/hostname").write_text(f"{node.name}\n")
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    lines += [
        f"{address} {each.name}" for each in lab.servers for address in each.addresses.values()
    ]
    Path("/etc/hosts").write_text("\n".join(lines) + "\n")


def _network(lab: plan.Plan, node: plan.Node) -> None:
    lines = ["link set lo up"]
    for network, address in node.addresses.items():
        interface = plan.INTERFACES[network]
        prefix = lab.cidr(network).rpartition("/")[2]
        lines += [f"address add {address}/{prefix} dev {interface}", f"link set {interface} up"]
    links.run_ip(lines)


def _supervise(services: list[Service], environ: dict[str, str]) -> NoReturn:
    """Keep the services running, reap every orphan, obey the system request key; for ever."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in CHANGED_SIGNALS[1:]:
        signal.signal(number, signal.SIG_IGN)
    # read-write, so that it never reports end of file and writers never block
    sysrq = os.open(SYSRQ_KEYS, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    while True:
        _reap(services)
        pending = False
        for service in services:
            if not service.pid:
                pending = not _start(service, environ) or pending
        timeout = POLL_S if pending else None
        readable, _, _ = select.select([wake_read, sysrq], [], [], timeout)
        if wake_read in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wake_read, 4096)
        if sysrq in readable:
            _system_request(os.read(sysrq, 64))


def _system_request(keys: bytes) -> None:
    """b reboots, o powers off, c crashes: this server only."""
    if b"b" in keys:
        kernel.reboot(kernel.RB_AUTOBOOT)
    if b"o" in keys:
        kernel.reboot(kernel.RB_POWER_OFF)
    if b"c" in keys:
        os._exit(70)


def _start(service: Service, environ: dict[str, str]) -> bool:
    """Start a service whose time has come; False while it waits for that."""
    now = time.monotonic()
    if now < service.not_before or not all(path.exists() for path in service.needs):
        return False
    if (DISABLED / service.name).exists():
        return False
    log = Path(f"/var/log/clusterctl/{service.name}.log")
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    pid = os.fork()
    if pid == 0:
        _become(service, descriptor, environ)
    os.close(descriptor)
    service.pid, service.started = pid, now
    return True


def _become(service: Service, log: int, environ: dict[str, str]) -> NoReturn:
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        # an ignored signal stays ignored over exec: programs expect none to be
        for number in (*CHANGED_SIGNALS, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.execvpe(service.argv[0], service.argv, environ)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"{service.argv[0]}: {error}\n")
    os._exit(127)


def _reap(services: list[Service]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        now = time.monotonic()
        for service in services:
            if service.pid == pid:
                if now - service.started > STABLE_S:
                    service.backoff = BACKOFF_FIRST_S
                stay_away = os.waitstatus_to_exitcode(status) == STAY_AWAY
                service.pid = 0
                service.not_before = float("inf") if stay_away else now + service.backoff
                service.backoff = min(service.backoff * 2, BACKOFF_LAST_S)
