"""Agents come and go: crash loops, maintenance under a hold, a rolling upgrade from an older
version. What they started runs on, and nobody is fenced for it."""

import io
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import marks
from tests.faults.cluster_under_test import SERVERS, ClusterUnderTest, now_wall
from tests.faults.history import Run
from tests.faults.marks import TIMEOUT_S
from tests.integration.lab_under_test import SOURCE

pytestmark = marks.long

# The version that the upgrade begins with: the last commit before agents could be held.
PREVIOUS = "deefbe5"
CRASH_LOOP_S = 10.0
CUT_S = 12.0  # twice the dead-man deadline


def _switch(cluster: ClusterUnderTest, server: str) -> Path:
    """While this file is there, the supervisor of the server starts no agent."""
    return cluster.lab.plan.node_directory(server) / "clusterctl" / "disabled" / "agent"


def _stop_agent(cluster: ClusterUnderTest, server: str) -> None:
    switch = _switch(cluster, server)
    switch.parent.mkdir(exist_ok=True, mode=0o700)
    switch.touch()
    cluster.break_("kill", f"{server}/agent", check=False)


def _start_agent(cluster: ClusterUnderTest, server: str) -> None:
    _switch(cluster, server).unlink(missing_ok=True)


def _life(cluster: ClusterUnderTest) -> Run:
    """The life of the witness that runs now."""
    cluster.beats_on(cluster.owner())
    return cluster.last_run()


def _cut_off(cluster: ClusterUnderTest, server: str) -> None:
    for network in ("private", "public"):
        cluster.break_("cut", server, "--network", network)


@pytest.fixture
def whole(cluster: ClusterUnderTest) -> Iterator[ClusterUnderTest]:
    """Whatever a test does to agents is taken back."""
    yield cluster
    for server in SERVERS:
        _start_agent(cluster, server)


def test_a_crash_loop_of_the_owners_agent_disturbs_nothing(whole: ClusterUnderTest) -> None:
    owner, epoch, began = whole.owner(), whole.group()["epoch"], now_wall()
    life, end, kills = _life(whole), time.monotonic() + CRASH_LOOP_S, 0
    while time.monotonic() < end:
        kills += whole.break_("kill", f"{owner}/agent", check=False).status == 0
        time.sleep(0.2)
    assert kills > 3
    whole.wait_servers()
    whole.wait_group(on=owner)
    assert whole.group()["epoch"] == epoch
    assert _life(whole).pid == life.pid
    assert whole.events("fence_requested", "dead_man_fired", since=began) == []


def test_under_a_hold_a_server_without_agent_may_even_be_cut_off(whole: ClusterUnderTest) -> None:
    """Its BMC is dead, so nobody can be proven off; without the hold its pulse would end the
    service after the deadline."""
    owner, life, began = whole.owner(), _life(whole), now_wall()
    whole.break_("bmc", owner, "dead")
    held = whole.ctl("agent", "hold", "--server", owner, "--until", "10m", "--why", "new kernel")
    assert f"{owner} may be without its agent until" in held.out
    _stop_agent(whole, owner)
    whole.wait_session_end(owner)
    assert "is on hold until" in whole.ctl("status").out
    _cut_off(whole, owner)
    whole.wait_group("blocked")
    whole.beats_for(CUT_S)
    assert whole.group()["owner"] == owner
    assert whole.events("dead_man_fired", since=began) == []

    whole.break_("heal")
    whole.break_("bmc", owner, "ok")
    _start_agent(whole, owner)
    whole.wait_group(on=owner)
    whole.ctl("agent", "release", "--server", owner)
    assert "is on hold" not in whole.ctl("status").out
    assert _life(whole).pid == life.pid


def test_a_held_server_that_falls_silent_is_fenced_all_the_same(whole: ClusterUnderTest) -> None:
    owner = whole.owner()
    boot = whole.status(f"server/{owner}")["bootId"]
    whole.ctl("agent", "hold", "--server", owner, "--until", "10m")
    _stop_agent(whole, owner)
    _cut_off(whole, owner)
    whole.wait_group(not_on=owner)
    assert whole.group()["proof"] == "fenced"
    whole.break_("heal")
    _start_agent(whole, owner)
    whole.wait_new_boot(owner, boot)
    whole.eventually(
        lambda: "is on hold" not in whole.ctl("status").out, "the hold ends with its boot"
    )


# -- upgrade -------------------------------------------------------------------------------------


def _unpack_previous(cluster: ClusterUnderTest) -> None:
    """The older version, where the servers see it as /srv/previous."""
    done = subprocess.run(
        ["git", "archive", PREVIOUS, "reconciler", "specs"],
        cwd=SOURCE,
        capture_output=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"commit {PREVIOUS} is not in this checkout: {done.stderr.decode()[:200]}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(cluster.shared / "previous", filter="data")


def _start_previous(cluster: ClusterUnderTest, server: str) -> None:
    command = f"exec {sys.executable} -m reconciler.agent >>/var/log/clusterctl/previous.log 2>&1"
    environment = ("env", "PYTHONPATH=/srv/previous", "setsid", "-f")
    cluster.on(server, *environment, "sh", "-c", command)


@pytest.mark.timeout(2 * TIMEOUT_S)
def test_agents_are_replaced_one_by_one_and_no_service_notices(whole: ClusterUnderTest) -> None:
    """Everything starts under the older version, its pulses too; then each agent is replaced while
    the others still run the older one."""
    _unpack_previous(whole)
    whole.ctl("stop", "group/web")
    for server in SERVERS:
        _stop_agent(whole, server)
    for server in SERVERS:  # nobody is left who could take it for a crash
        whole.break_("kill", f"{server}/pulse", check=False)
    began = now_wall()
    for server in SERVERS:
        _start_previous(whole, server)
    for server in SERVERS:
        whole.wait_event("session_created", began, by=server)
    # until they hear each other nothing can be started
    whole.eventually(lambda: whole.ctl("start", "group/web", check=False).status == 0, "a start")
    whole.wait_group()
    life, epoch, began = _life(whole), whole.group()["epoch"], now_wall()

    for server in SERVERS:
        replaced = now_wall()
        whole.break_("kill", f"{server}/agent")
        _start_agent(whole, server)
        whole.wait_event("session_created", replaced, by=server)
        whole.wait_servers()
        whole.wait_group(on=life.server)
        assert _life(whole).pid == life.pid
        assert whole.group()["epoch"] == epoch
    assert whole.events("fence_requested", "dead_man_fired", "group_failed", since=began) == []

    whole.ctl("move", "group/web")
    whole.wait_group(not_on=life.server)
