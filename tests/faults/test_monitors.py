"""Monitors on a real lab: a service that hangs is restarted, then moved; nothing that a probe
starts outlives it. The specs are those of examples/02-monitors."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import marks
from tests.faults.cluster_under_test import ClusterUnderTest

pytestmark = marks.long

EXAMPLE = Path(__file__).parents[2] / "examples/02-monitors"
SERVICE = "ThreadingHTTPServer"
WATCHED = ("web-answers", "web-process", "web-address-there", "web-clients", "web-disk")

ILL_BEHAVED = """\
apiVersion: clusterctl/v1
kind: Monitor
metadata: {{name: {name}}}
spec:
  type: custom
  target: group/web
  command: [sh, -c, "{command}"]
  interval: 1s
  timeout: 1s
  retry: 0
  recovery: {{restarts: 0, failovers: 0}}
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    made = ClusterUnderTest.start(tmp_path_factory.mktemp("monitors") / "d")
    try:
        made.ctl("apply", str(EXAMPLE))
        made.wait_group()
        yield made
    finally:
        made.down()


def state_of(cluster: ClusterUnderTest, monitor: str) -> str:
    return str(cluster.status(f"monitor/{monitor}")["state"])


def wait_state(cluster: ClusterUnderTest, monitor: str, state: str) -> None:
    cluster.eventually(lambda: state_of(cluster, monitor) == state, f"{monitor} is {state}")


def hang(cluster: ClusterUnderTest, server: str) -> None:
    """The service stands still: it runs, and its port accepts connections."""
    cluster.break_("exec", server, "--", "pkill", "-STOP", "-f", SERVICE)


def test_a_service_that_hangs_is_restarted_and_then_moved(watched: ClusterUnderTest) -> None:
    owner = watched.owner()
    for monitor in WATCHED:
        wait_state(watched, monitor, "healthy")
    began = time.time()
    hang(watched, owner)
    event = watched.wait_event("recovery_started", began, monitor="web-answers")
    assert (event["step"], event["restarts"]) == ("restart", 1)
    watched.wait_event("resource_started", began, resource="web-server")
    again = time.time()
    hang(watched, owner)  # before three healthy probes in a row
    watched.wait_event("recovery_started", again, monitor="web-answers", step="failover")
    watched.wait_group(not_on=owner)
    assert "web-answers" in watched.group()["cause"]
    assert watched.group()["proof"] == "released"
    wait_state(watched, "web-answers", "healthy")
    assert state_of(watched, "web-process") == "healthy", "a hanging process runs"


@pytest.mark.parametrize(
    ("name", "command", "reason"),
    [
        ("hangs", "trap '' TERM; sleep 4242.5; sleep 4242.5", "no end within 1 s"),
        ("forks", "for i in 1 2 3 4; do setsid sleep 4242.5 & done; sleep 4242.5", "no end"),
        ("floods", "while :; do echo flood flood flood; done", "wrote more than"),
    ],
)
def test_an_ill_behaved_probe_harms_nobody(
    watched: ClusterUnderTest, name: str, command: str, reason: str
) -> None:
    path = watched.lab.directory / f"{name}.yaml"
    path.write_text(ILL_BEHAVED.format(name=name, command=command))
    began, epoch = time.time(), watched.group()["epoch"]
    watched.ctl("apply", str(path))
    try:
        event = watched.wait_event("monitor_faulted", began, monitor=name)
        assert reason in event["reason"]
        wait_state(watched, name, "parked")
    finally:
        watched.ctl("delete", f"monitor/{name}")
    watched.eventually(
        lambda: "4242.5" not in watched.on(watched.owner(), "ps", "-eo", "args"),
        "nothing of it is left",
    )
    assert not watched.events("fence_requested", "agent_started", since=began)
    assert watched.group()["epoch"] == epoch


def test_what_a_recovery_counted_survives_the_agent(watched: ClusterUnderTest) -> None:
    owner = watched.owner()
    wait_state(watched, "web-answers", "healthy")
    began = time.time()
    hang(watched, owner)
    watched.wait_event("recovery_started", began, monitor="web-answers", step="restart")
    watched.break_("kill", f"{owner}/agent")
    watched.wait_event("agent_started", began)
    again = time.time()
    watched.wait_servers(owner)

    def counted() -> int:
        servers = watched.status("monitor/web-answers")["servers"]
        return int(servers[owner]["restarts"])

    assert counted() == 1 or watched.events("monitor_recovered", since=again)
    watched.wait_group()


REBOOTS = """\
apiVersion: clusterctl/v1
kind: Monitor
metadata: {{name: sick}}
spec:
  type: custom
  target: server
  timing: always
  servers: [{server}]
  command: [sh, -c, "test ! -e /srv/sick"]
  interval: 1s
  timeout: 1s
  recovery: {{finalAction: reboot}}
"""


def test_a_reboot_as_final_action_happens_once(watched: ClusterUnderTest) -> None:
    owner = watched.owner()
    boot = watched.status(f"server/{owner}")["bootId"]
    path = watched.lab.directory / "sick.yaml"
    path.write_text(REBOOTS.format(server=owner))
    watched.ctl("apply", str(path))
    wait_state(watched, "sick", "healthy")
    began = time.time()
    watched.break_("exec", owner, "--", "touch", "/srv/sick")
    watched.wait_event("machine_reset", began)
    watched.wait_group(not_on=owner)
    watched.wait_new_boot(owner, boot)
    wait_state(watched, "sick", "parked")
    watched.break_("exec", owner, "--", "rm", "/srv/sick")
    wait_state(watched, "sick", "healthy")
    assert len(watched.events("machine_reset", since=began)) == 1
    watched.ctl("delete", "monitor/sick")
