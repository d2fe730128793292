"""The package on three servers that boot their own systemd, along docs/install.md: every command of
that page runs here, and the test fails for one that was not run."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.installed_servers import (
    BMC_PASSWORD,
    NAMES,
    InstalledServers,
    download,
    eventually,
    missing,
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.long,
    pytest.mark.skipif(bool(missing()), reason=missing() or "systemd servers can be made"),
    pytest.mark.timeout(900),
]

SOURCE = Path(__file__).parents[2]
PAGE = (SOURCE / "docs/install.md").read_text(encoding="utf-8")
SERVICE = "http://10.77.2.100:8080/"


def commands() -> list[tuple[str, str]]:
    """(where, command) of each line to type in docs/install.md."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [(match[1], match[2]) for line in lines if (match := re.match(r"(\w+)[#$] (.*)", line))]


class Walk:
    """Runs commands as the page has them and keeps account of them."""

    def __init__(self, servers: InstalledServers) -> None:
        self.servers = servers
        self.open = commands()

    def __call__(self, where: str, command: str, text: str = "") -> str:
        """Run a line of the page; its output."""
        assert (where, command) in commands(), f"not on the page: {where}# {command}"
        names = NAMES if where == "each" else (where,)
        output = [self.on(name, command, text) for name in names]
        self.open = [each for each in self.open if each != (where, command)]
        return "".join(output)

    def on(self, name: str, command: str, text: str = "") -> str:
        """Run something on one server in /root; its output."""
        return self.servers.run(name, "sh", "-c", f"cd /root; {command}", text=text).stdout


def answer(servers: InstalledServers) -> str:
    """Which server answers a client, or nothing."""
    done = servers.outside("curl", "-s", "--max-time", "1", SERVICE, check=False)
    return done.stdout.strip()


def pid_of(servers: InstalledServers, name: str, words: str) -> str:
    """Pids on a server whose command line contains `words`."""
    return servers.run(name, "pgrep", "-f", words, check=False).stdout.strip()


def cgroup(servers: InstalledServers, name: str, pid: str) -> str:
    return servers.run(name, "grep", "^0::", f"/proc/{pid}/cgroup").stdout


def main_pid(servers: InstalledServers, name: str, unit: str) -> str:
    return servers.run(name, "systemctl", "show", "-P", "MainPID", unit).stdout.strip()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, as `make deb` makes it."""
    output = tmp_path_factory.mktemp("deb")
    done = subprocess.run(
        ["make", "deb", f"ARGS={output}"],
        cwd=SOURCE,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (made,) = output.glob("*.deb")
    assert f"/{made.name}\n" in f"/{done.stdout.splitlines()[-1].rpartition('/')[2]}\n"
    return made


@pytest.fixture
def servers() -> Iterator[InstalledServers]:
    made = InstalledServers()
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_the_page_is_walked(servers: InstalledServers, package: Path) -> None:
    walk = Walk(servers)
    walk.open.remove(("build", "make deb"))
    try:
        install(walk, package)
        make_cluster(walk)
        first_group(walk)
        agent_restart_and_upgrade(walk)
        crash(walk)
        reboot(walk)
        grow_older(walk)
        one_leaves(walk)
        uninstall(walk)
    except BaseException:  # also an interrupted run: what went wrong is told, and goes on
        servers.tell_journals()
        raise
    assert walk.open == []


def install(walk: Walk, package: Path) -> None:
    servers = walk.servers
    etcd = download("etcd-server")
    for name in NAMES:
        servers.put(name, "/root/etcd-server.deb", etcd.read_bytes())
        servers.put(name, f"/root/{package.name}", package.read_bytes())
    walk("each", "systemctl mask etcd.service")
    for name in NAMES:  # servers of this test have no network to get it from
        walk.on(name, "dpkg -i etcd-server.deb")
    walk("each", f"apt-get install -y ./{package.name}")
    for name in NAMES:
        state = servers.run(name, "systemctl", "is-enabled", "clusterctl-agent", check=False)
        assert state.stdout.strip() == "disabled"  # the package enables nothing


def make_cluster(walk: Walk) -> None:
    servers = walk.servers
    (init,) = [line for where, line in commands() if "cluster init" in line]
    servers.run("n1", "systemctl", "unmask", "etcd.service")
    servers.run("n1", "systemctl", "start", "etcd.service")
    refused = servers.run("n1", *init.split(), check=False)
    assert refused.returncode != 0
    assert "systemctl disable --now etcd.service" in refused.stderr
    servers.run("n1", "systemctl", "disable", "--now", "etcd.service")
    servers.run("n1", "systemctl", "mask", "etcd.service")
    walk("n1", init)
    for name in ("n2", "n3"):
        token = walk("n1", "clusterctl cluster token")
        number = name[1:]
        addresses = f"--address 10.77.1.1{number} --address 10.77.2.1{number}"
        walk(name, f"clusterctl cluster join - --server {name} {addresses}", token)
    walk("each", "clusterctl cluster refresh")
    walk("each", "systemctl restart clusterctl-agent")
    active = walk("each", "systemctl is-active clusterctl-etcd clusterctl-agent")
    assert active.split() == ["active"] * 6
    assert servers.run("n1", "systemctl", "is-active", "clusterctl-enrolment").stdout == "active\n"
    for words, priority in (("etcd --config", 5), ("bin/reconciler", 10), ("reconciler.pulse", 50)):
        (pid,) = pid_of(servers, "n1", words).split()
        policy = servers.run("n1", "chrt", "-p", pid).stdout
        assert "SCHED_RR" in policy
        assert f"priority: {priority}\n" in policy


def first_group(walk: Walk) -> None:
    servers = walk.servers
    for name in NAMES:
        servers.put(name, "/etc/clusterctl/secrets/bmc", f"{BMC_PASSWORD}\n", 0o644)
    walk("each", "chmod 600 /etc/clusterctl/secrets/bmc")
    (specs,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    servers.put("n1", "/root/cluster.yaml", specs)
    walk("n1", "clusterctl apply cluster.yaml")
    walk("n1", "clusterctl fence test")
    walk("n1", "clusterctl apply /usr/share/doc/clusterctl/examples/01-web/web.yaml")
    walk("n1", "clusterctl wait group/web --for online --timeout 60s")
    assert "web" in walk("n1", "clusterctl status")
    eventually(lambda: answer(servers) == "n1", "n1 answers the client")


def agent_restart_and_upgrade(walk: Walk) -> None:
    """However the agent ends and comes back, service and pulse stay the processes they were."""
    servers = walk.servers
    service = pid_of(servers, "n1", "ThreadingHTTPServer")
    pulse = pid_of(servers, "n1", "reconciler.pulse")
    assert len(service.split()) == len(pulse.split()) == 1
    (upgrade,) = [line for _, line in commands() if "--reinstall" in line]
    kill = "systemctl kill --kill-whom=main --signal=KILL clusterctl-agent"
    for act in (
        lambda: walk("each", "systemctl restart clusterctl-agent"),
        lambda: walk("each", upgrade),
        lambda: walk.on("n1", kill),
    ):
        agent = main_pid(servers, "n1", "clusterctl-agent")
        act()
        eventually(
            lambda agent=agent: main_pid(servers, "n1", "clusterctl-agent") not in ("0", agent),
            "another agent runs",
        )
        walk.on("n1", "clusterctl wait group/web --for online --timeout 60s")
        eventually(lambda: healthy(walk) == "ok", "all is well")
        assert pid_of(servers, "n1", "ThreadingHTTPServer") == service
        assert pid_of(servers, "n1", "reconciler.pulse") == pulse
        assert "/clusterctl-agent.service/clusterctl." in cgroup(servers, "n1", service)
        assert answer(servers) == "n1"


def healthy(walk: Walk, name: str = "n1") -> str:
    """ "ok" when `clusterctl status --check` on that server finds nothing to say."""
    done = walk.servers.run(name, "clusterctl", "status", "--check", check=False)
    return "ok" if done.returncode == 0 else done.stdout


def crash(walk: Walk) -> None:
    servers = walk.servers
    servers.board("n1", "crash")
    eventually(lambda: answer(servers) in ("n2", "n3"), "another server answers the client")
    eventually(lambda: "fence_confirmed" in events(servers, "n2"), "the fence is told")
    eventually(lambda: bool(servers.init("n1")), "n1 was switched on again")
    eventually(lambda: healthy(walk, "n2") == "ok", "n1 is a member again", 120)


def events(servers: InstalledServers, name: str) -> set[str]:
    """Names of all events, as that server reads them."""
    told = json.loads(servers.run(name, "clusterctl", "events", "-o", "json").stdout)
    return {event["name"] for event in told}


def reboot(walk: Walk) -> None:
    servers = walk.servers
    if answer(servers) != "n1":
        walk.on("n2", "clusterctl move group/web --to n1")
    eventually(lambda: answer(servers) == "n1", "n1 answers the client")
    walk("n1", "clusterctl drain n1")
    before = servers.run("n1", "cat", "/run/clusterctl/boot-id").stdout
    walk("n1", "systemctl reboot")
    eventually(lambda: boot_id(servers, "n1") not in ("", before), "n1 has booted again", 120)
    walk("n2", "clusterctl undrain n1")
    eventually(lambda: healthy(walk, "n2") == "ok", "n1 is a member again", 120)
    owner = answer(servers)
    assert owner != "n1"
    # and without a drain by hand: the unit does it, so nobody is fenced
    fences = told(servers, "n1", "fence_requested")
    before = boot_id(servers, owner)
    servers.run(owner, "systemctl", "reboot")
    eventually(lambda: answer(servers) in set(NAMES) - {owner}, "the group has moved", 120)
    eventually(lambda: boot_id(servers, owner) not in ("", before), f"{owner} is back", 120)
    eventually(lambda: healthy(walk, "n1") == "ok", f"{owner} is a member again", 120)
    assert told(servers, "n1", "fence_requested") == fences


def told(servers: InstalledServers, name: str, event: str) -> int:
    """How often this event was told in the cluster, as that server reads it."""
    found = json.loads(servers.run(name, "clusterctl", "events", "-o", "json").stdout)
    return sum(each["name"] == event for each in found)


def grow_older(walk: Walk) -> None:
    """Certificates, the key of the heartbeats, a backup: nothing stops for any of them."""
    servers, owner = walk.servers, answer(walk.servers)
    service = pid_of(servers, owner, "ThreadingHTTPServer")
    walk("each", "clusterctl cert renew")
    walk("n1", "clusterctl cert status")
    before = servers.run("n1", "cat", "/etc/clusterctl/cluster.key").stdout
    walk("n1", "clusterctl cluster rotate-key")
    fetch_keys(walk)
    eventually(lambda: rotate(servers), "the second step")
    fetch_keys(walk)
    keys = {servers.run(name, "cat", "/etc/clusterctl/cluster.key").stdout for name in NAMES}
    assert len(keys) == 1
    assert keys != {before}
    for command in (line for _, line in commands() if "clusterctl backup" in line):
        walk("n1", command)
    assert pid_of(servers, owner, "ThreadingHTTPServer") == service
    eventually(lambda: healthy(walk) == "ok", "all is well")


def rotate(servers: InstalledServers) -> bool:
    return servers.run("n1", "clusterctl", "cluster", "rotate-key", check=False).returncode == 0


def fetch_keys(walk: Walk) -> None:
    wanted = walk.servers.run("n1", "cat", "/etc/clusterctl/cluster.key").stdout
    for name in ("n2", "n3"):

        def fetched(name: str = name) -> bool:
            walk(name, "clusterctl cluster refresh")
            return walk.servers.run(name, "cat", "/etc/clusterctl/cluster.key").stdout == wanted

        eventually(fetched, f"{name} has the keys of n1")


def one_leaves(walk: Walk) -> None:
    """n3, and the service of the others goes on."""
    servers = walk.servers
    walk("n1", "clusterctl drain n3")
    web = "/usr/share/doc/clusterctl/examples/01-web/web.yaml"
    walk.on("n1", f"sed 's/n1, n2, n3/n1, n2/' {web} >web.yaml; clusterctl apply web.yaml")
    walk("n3", "systemctl disable --now clusterctl-drain clusterctl-agent")

    def agent_is_gone() -> bool:
        shown = servers.run("n1", "clusterctl", "agent", "status", "n3", "-o", "json").stdout
        return not json.loads(shown)[0]["agent"]

    eventually(agent_is_gone, "the session of n3 has ended")
    walk("n1", "clusterctl cluster leave n3 --yes-i-mean n3")
    walk("n3", "systemctl disable --now clusterctl-etcd")
    walk("n2", "clusterctl cluster refresh")
    eventually(lambda: rotate(servers), "another key for the others")
    assert servers.run("n1", "clusterctl", "get", "server/n3", check=False).returncode != 0
    eventually(lambda: healthy(walk) == "ok", "all is well without n3")
    assert answer(servers) in ("n1", "n2")


def boot_id(servers: InstalledServers, name: str) -> str:
    if not servers.init(name):
        return ""
    return servers.run(name, "cat", "/run/clusterctl/boot-id", check=False).stdout


def uninstall(walk: Walk) -> None:
    servers = walk.servers
    owner = answer(servers)
    refused = servers.run(owner, "apt-get", "remove", "-y", "clusterctl", check=False)
    assert refused.returncode != 0
    assert "clusterctl stop group/web" in refused.stderr + refused.stdout
    for command in (line for _, line in commands() if re.match("clusterctl (stop|delete)", line)):
        walk("n1", command)
    walk("each", "systemctl stop clusterctl-agent")
    walk("each", "apt-get purge -y clusterctl")
    walk("each", "systemctl unmask etcd.service")
    for name in NAMES:
        left = servers.run(name, "sh", "-c", "ls -d /opt/clusterctl /etc/clusterctl", check=False)
        assert left.stdout == ""
        assert pid_of(servers, name, "reconciler|etcd --config") == ""
