"""Three servers that boot their own systemd, for test_installed.py: systemd-nspawn on overlays of
this machine's files, in mount, network and PID namespaces of the test's own.

Whatever happens to the test, the kernel ends the PID namespace with it, and with that everything:
mounts, networks, BMCs, servers. Only directories and empty cgroups could stay; the next start
removes those.
"""

import asyncio
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from clusterctl.lab import kernel, plan
from clusterctl.lab.bmc import BmcSimulator

ROOM = Path("/var/tmp/clusterctl-installed")  # an overlay needs a real file system
BOARD = Path(__file__).with_name("board.sh")
PACKAGES = Path(__file__).parents[2] / ".tools/packages"
NAMES = ("n1", "n2", "n3")
PROGRAMS = ("systemd-nspawn", "ipmi_sim", "nsenter", "unshare", "setpriv", "dpkg-deb")
BMC_PASSWORD = "only-for-tests"
COMMAND_TIMEOUT_S = 170.0
SERVER_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# what a server of this test does not need and what would reach out
MASKED = (
    "postgresql.service",
    "systemd-timesyncd.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "console-getty.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "man-db.timer",
    "openipmi.service",
    "ipmievd.service",
    "systemd-firstboot.service",
    "e2scrub_reap.service",
    "fstrim.timer",
)


def missing() -> str:
    """Why such servers can not be made here, or nothing."""
    if os.geteuid() != 0:
        return "needs root"
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try:
        plan.find_cgroup_root()
    except plan.LabError as error:
        return str(error)
    return ""


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Wait until it holds; fails with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.1)


def download(package: str) -> Path:
    """A Debian package as a file, fetched once; the test is skipped when there is no network."""
    PACKAGES.mkdir(parents=True, exist_ok=True)
    found = sorted(PACKAGES.glob(f"{package}_*.deb"))
    if not found:
        done = subprocess.run(
            ["apt-get", "download", "-q", package],
            cwd=PACKAGES,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"{package} can not be downloaded: {done.stderr.strip()[-200:]}")
        found = sorted(PACKAGES.glob(f"{package}_*.deb"))
    return found[-1]


class InstalledServers:
    """n1, n2 and n3 with addresses 10.77.1.1x (private) and 10.77.2.1x (public), BMCs 10.77.1.10x;
    the test itself is 10.77.2.254."""

    def __init__(self) -> None:
        self.cgroup = plan.find_cgroup_root() / "clusterctl-installed"
        self._world: subprocess.Popen[bytes] | None = None
        self._bmcs: list[BmcSimulator] = []

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Make the world and switch all servers on; returns when they have booted."""
        self._sweep()
        ROOM.mkdir(mode=0o700)
        shutil.copy(BOARD, ROOM / "board.sh")
        self.cgroup.mkdir()
        (self.cgroup / "world").mkdir()
        self._world = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid"),
                *("--propagation", "private", "--fork", "--kill-child", "--mount-proc"),
                *("sleep", "infinity"),
            ],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: (self.cgroup / "world/cgroup.procs").write_text("0"),  # noqa: PLW1509
        )
        eventually(lambda: len(self._world_pids()) == 2, "namespaces of the test")
        for line in (
            "mount -t cgroup2 none /sys/fs/cgroup",
            "mount -t tmpfs none /run",
            "mkdir -p /run/netns",
            "ip link set lo up",
            "ip link add priv address 02:78:01:00:00:ff type bridge mcast_snooping 0",
            "ip link add pub address 02:78:02:00:00:ff type bridge mcast_snooping 0",
            "ip address add 10.77.2.254/24 dev pub",
            *(f"ip address add 10.77.1.10{number}/24 dev priv" for number in (1, 2, 3)),
            "ip link set priv up",
            "ip link set pub up",
        ):
            self.outside(*line.split())
        for number, name in enumerate(NAMES, 1):
            self._make_server(name, number)
            self.board(name, "set", "power", "1")
        asyncio.run(self._start_bmcs())
        for name in NAMES:
            eventually(lambda name=name: self._has_booted(name), f"{name} boots")  # type: ignore[misc]

    def stop(self) -> None:
        """End everything and remove every trace."""
        asyncio.run(self._stop_bmcs())
        self._sweep()
        if self._world is not None:
            self._world.wait(10)

    def _make_server(self, name: str, number: int) -> None:
        own = ROOM / "servers" / name
        for part in ("upper", "work", "root"):
            (own / part).mkdir(parents=True)
        (own / "power.bit").write_text("0\n")
        (own / "settings").write_text(
            f"NUMBER={number}\nROOT={own}/root\nCGROUP=/sys/fs/cgroup/{self.cgroup.name}/{name}\n"
        )
        layers = f"lowerdir=/,upperdir={own}/upper,workdir={own}/work"
        self.outside("mount", "-t", "overlay", "overlay", "-o", layers, f"{own}/root")
        root = f"{own}/root"
        self.outside("rm", "-f", f"{root}/usr/sbin/policy-rc.d", f"{root}/etc/machine-id")
        self.outside("rm", "-rf", f"{root}/etc/clusterctl", f"{root}/var/lib/clusterctl")
        (own / "upper/etc").mkdir(exist_ok=True)
        self.outside("sh", "-c", f"echo {name} >{root}/etc/hostname")
        for unit in MASKED:
            self.outside("ln", "-sf", "/dev/null", f"{root}/etc/systemd/system/{unit}")

    async def _start_bmcs(self) -> None:
        for number, name in enumerate(NAMES, 1):
            bmc = BmcSimulator(
                directory=ROOM / "bmc" / name,
                server=name,
                address=f"10.77.1.10{number}",
                port=623,
                user="admin",
                password=BMC_PASSWORD,
                guid=str(uuid.uuid4()),
                power_program=["/bin/sh", f"{ROOM}/board.sh", f"{ROOM}/servers/{name}"],
                # itself outside of the PID namespace, so that it is found; what it starts is inside
                launch_prefix=("setpriv", "--pdeathsig", "KILL", *self._enter("--no-fork")),
            )
            await bmc.start()
            self._bmcs.append(bmc)

    async def _stop_bmcs(self) -> None:
        for bmc in self._bmcs:
            await bmc.stop()
        self._bmcs.clear()

    def _sweep(self) -> None:
        """Remove what this or an earlier run left. Kills only what is in the test's cgroup."""
        if self.cgroup.is_dir():
            deadline = time.monotonic() + 10
            while "populated 1" in (self.cgroup / "cgroup.events").read_text():
                (self.cgroup / "cgroup.kill").write_text("1")
                assert time.monotonic() < deadline, f"{self.cgroup} does not get empty"
                time.sleep(0.01)
            for directory, _, _ in os.walk(self.cgroup, topdown=False):
                Path(directory).rmdir()
        shutil.rmtree(ROOM, ignore_errors=True)

    # -- running things -------------------------------------------------------------------------

    def outside(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program beside the servers: in their network, on this machine's files."""
        return self._call([*self._enter(), *argv], check=check)

    def run(
        self, name: str, *argv: str, text: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on a server, as a login of root would."""
        spaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
        environment = ("env", "-i", "-C", "/", f"PATH={SERVER_PATH}", "HOME=/root", "LANG=C.UTF-8")
        init = self.init(name)
        assert init, f"{name} is off"
        argv = ("nsenter", "--target", str(init), *spaces, "--", *environment, *argv)
        return self._call(argv, text=text, check=check)

    def board(self, name: str, *words: str) -> None:
        """Press a button of a server, see board.sh."""
        self.outside("/bin/sh", str(ROOM / "board.sh"), str(ROOM / "servers" / name), *words)

    def init(self, name: str) -> int:
        """Pid of a server's systemd as this machine numbers it; 0 when it is not running."""
        scope = self.cgroup / name / "payload/init.scope/cgroup.procs"
        try:
            pids = [int(line) for line in scope.read_text().split()]
        except OSError:
            return 0
        return min(pids, default=0)

    def put(self, name: str, path: str, content: bytes | str, mode: int = 0o600) -> None:
        """Write a file of a running server."""
        target = Path(f"/proc/{self.init(name)}/root{path}")
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)

    def tell_journals(self) -> None:
        """Print what each server has to say; pytest shows it when the test fails."""
        for name in filter(self.init, NAMES):
            done = self.run(name, "journalctl", "-n", "150", "--no-pager", check=False)
            print(f"---- {name}\n{done.stdout}{done.stderr}")

    def _has_booted(self, name: str) -> bool:
        if not self.init(name):
            return False
        done = self.run(name, "systemctl", "is-system-running", check=False)
        return done.stdout.strip() in ("running", "degraded")

    def _world_pids(self) -> list[int]:
        return [int(each) for each in (self.cgroup / "world/cgroup.procs").read_text().split()]

    def _enter(self, *options: str) -> tuple[str, ...]:
        inside = max(self._world_pids(), key=lambda pid: (kernel.process_start(pid) or 0, pid))
        spaces = ("--mount", "--net", "--pid")
        return ("nsenter", "--target", str(inside), *spaces, *options, "--")

    def _call(
        self, argv: list[str] | tuple[str, ...], *, text: str = "", check: bool
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            argv,
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{argv}: {done.stderr}{done.stdout}"
        return done
