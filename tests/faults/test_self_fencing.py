"""What a server does to itself when nobody else can: the watchdog, final actions, limits."""

import os
import signal
from pathlib import Path

import pytest

from clusterctl.lab import inside, power
from tests.faults import marks
from tests.faults.cluster_under_test import WAIT_S, ClusterUnderTest, now_wall

pytestmark = marks.long

WATCHDOG = "  watchdog: {device: /run/watchdog, timeout: 3s}\n  fencing:"
TIMING = "    deadMan: 3s\n"


@pytest.fixture
def guarded(cluster: ClusterUnderTest) -> ClusterUnderTest:
    """Every server feeds a watchdog; they go on doing so until their next boot."""
    specs = cluster.lab.directory / "specs"
    began = now_wall()
    for name in cluster.servers:
        path = specs / f"{name}.yaml"
        if "watchdog" not in path.read_text():
            path.write_text(path.read_text().replace("  fencing:", WATCHDOG))
    timing = specs / "cluster.yaml"
    if TIMING not in timing.read_text():
        timing.write_text(timing.read_text() + TIMING)
        cluster.ctl("apply", str(specs))
        for name in cluster.servers:
            cluster.wait_event("watchdog_armed", began, by=name)
        cluster.beats_for(3.0)  # until every session says so
    return cluster


def test_a_server_whose_pulse_and_agent_hang_is_reset_by_its_watchdog(
    guarded: ClusterUnderTest,
) -> None:
    owner = guarded.owner()
    guarded.break_("bmc", owner, "dead")  # nobody else can end it
    for program in ("agent", "pulse"):
        guarded.break_("pause", f"{owner}/{program}")
    guarded.eventually(lambda: guarded.lab_server(owner)["state"] == "off", "the watchdog bites")
    guarded.break_("bmc", owner, "ok")
    guarded.wait_group(not_on=owner, timeout_s=2 * WAIT_S)


def test_a_killed_pulse_is_replaced_before_the_watchdog_bites(guarded: ClusterUnderTest) -> None:
    owner, began = guarded.owner(), now_wall()
    boot = guarded.status(f"server/{owner}")["bootId"]
    life = guarded.last_run()
    guarded.break_("kill", f"{owner}/pulse")
    guarded.wait_event("watchdog_armed", began, by=owner)
    guarded.beats_for(5.0)  # longer than its time-out
    assert guarded.lab_server(owner)["state"] == "running"
    assert guarded.status(f"server/{owner}")["bootId"] == boot
    assert guarded.last_run().pid == life.pid


def test_a_server_whose_ordinary_processes_stand_still_is_reset_with_stall(
    guarded: ClusterUnderTest,
) -> None:
    """Its pulse has real-time priority and would feed for ever: only the canary tells it."""
    specs, owner, began = guarded.lab.directory / "specs", guarded.owner(), now_wall()
    path = specs / f"{owner}.yaml"
    if "stall" not in path.read_text():
        path.write_text(path.read_text().replace("timeout: 3s}", "timeout: 3s, stall: 5s}"))
        guarded.ctl("apply", str(specs))
    guarded.eventually(lambda: canary(guarded, owner), "its pulse has a canary")
    guarded.break_("bmc", owner, "dead")
    os.kill(canary(guarded, owner), signal.SIGSTOP)
    guarded.eventually(lambda: guarded.lab_server(owner)["state"] == "off", "the watchdog bites")
    assert not guarded.events("dead_man_fired", since=began)
    guarded.break_("bmc", owner, "ok")
    guarded.wait_group(not_on=owner, timeout_s=2 * WAIT_S)


def canary(cluster: ClusterUnderTest, server: str) -> int:
    """Pid of the process that the pulse of this server has forked; 0 when there is none."""
    state = power.read(cluster.lab.plan.node_directory(server))
    pids = inside.processes(state)["pulse"]
    parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().split()[3]) for pid in pids}
    return next((pid for pid, parent in parents.items() if parent in pids), 0)


SICK = """\
apiVersion: clusterctl/v1
kind: Monitor
metadata: {{name: sick}}
spec:
  type: custom
  target: server
  timing: always
  servers: [{server}]
  command: [sh, -c, "test ! -e /tmp/sick"]
  interval: 1s
  timeout: 1s
  retry: 0
  recovery: {{finalAction: {action}}}
"""


def make_sick(cluster: ClusterUnderTest, server: str, action: str) -> float:
    """A monitor of the server that fails at once, with this final action."""
    path = cluster.lab.directory / "sick.yaml"
    path.write_text(SICK.format(server=server, action=action))
    cluster.break_("exec", server, "--", "touch", "/tmp/sick")
    began = now_wall()
    cluster.ctl("apply", str(path))
    cluster.wait_event("machine_action_taken", began, by=server, action=action)
    return began


@pytest.mark.parametrize("action", ["shutdown", "power-off", "crash", "power-cycle"])
def test_a_final_action_ends_the_server_and_its_group_runs_on(
    cluster: ClusterUnderTest, action: str
) -> None:
    owner = cluster.owner()
    boot = cluster.status(f"server/{owner}")["bootId"]
    began = make_sick(cluster, owner, action)
    cluster.wait_group(not_on=owner, timeout_s=2 * WAIT_S)
    cluster.beats_on(cluster.owner())
    if action == "shutdown":
        cluster.eventually(lambda: cluster.lab_server(owner)["state"] == "off", "it is off")
        assert cluster.events("fence_requested", since=began) == [], "the group moved in order"
        cluster.break_("power", owner, "on")
    cluster.wait_new_boot(owner, boot)
    taken = cluster.status(f"server/{owner}")["finalActions"]
    assert taken[-1]["action"] == action, "counted over the boot"
    cluster.ctl("delete", "monitor/sick")
    cluster.ctl("clear", f"server/{owner}")
    cluster.eventually(
        lambda: cluster.status(f"server/{owner}")["finalActions"] == [], "the count is cleared"
    )


def test_an_agent_that_a_final_action_ends_stays_away(cluster: ClusterUnderTest) -> None:
    owner = cluster.owner()
    began = make_sick(cluster, owner, "stop-agent")
    cluster.wait_group(not_on=owner)
    cluster.wait_event("agent_stopped", began, by=owner)
    cluster.wait_session_end(owner)
    cluster.beats_for(5.0)
    assert cluster.events("agent_started", since=began) == []
    assert cluster.lab_server(owner)["state"] == "running"
    cluster.ctl("delete", "monitor/sick")
    cluster.break_("power", owner, "reset")


DOOMED = """\
apiVersion: clusterctl/v1
kind: Group
metadata: {{name: doomed-{taken}}}
spec:
  servers: [{server}]
  activationRetries: 0
  failover: {{maxFailures: 1}}
  finalAction: {action}
---
apiVersion: clusterctl/v1
kind: Resource
metadata: {{name: never-{taken}}}
spec: {{type: application, mode: one-shot, group: doomed-{taken}, command: ["false"]}}
"""


@pytest.mark.parametrize(
    ("action", "taken"), [("reboot-server", "reboot"), ("power-off-server", "shutdown")]
)
def test_the_final_action_of_a_group_ends_the_server_where_it_failed_last(
    cluster: ClusterUnderTest, action: str, taken: str
) -> None:
    """Once, for the next boot runs nothing of it; the other group moves away in order."""
    owner, began = cluster.owner(), now_wall()
    boot = cluster.status(f"server/{owner}")["bootId"]
    path = cluster.lab.directory / "doomed.yaml"
    path.write_text(DOOMED.format(server=owner, action=action, taken=taken))
    cluster.ctl("apply", str(path))
    cluster.wait_event("machine_action_taken", began, by=owner, action=taken)
    cluster.wait_group(not_on=owner, timeout_s=2 * WAIT_S)
    assert cluster.group()["proof"] == "released"
    if taken == "shutdown":
        cluster.eventually(lambda: cluster.lab_server(owner)["state"] == "off", "it is off")
        cluster.break_("power", owner, "on")
    cluster.wait_new_boot(owner, boot)
    cluster.beats_for(5.0)
    assert len(cluster.events("machine_action_taken", since=began)) == 1
    assert cluster.group(f"doomed-{taken}")["phase"] == "failed"
    for one in (f"resource/never-{taken}", f"group/doomed-{taken}"):
        cluster.ctl("delete", one)
    cluster.ctl("clear", f"server/{owner}")


LEVELS = """\
  fencing:
    levels:
      - type: ipmi
        address: {bmc}
        port: 624 # nobody listens there
        user: admin
        passwordFrom: {{file: /etc/clusterctl/secrets/bmc-{name}}}
        cipherSuite: 3
        timeout: 1s
      - type: agent
        program: fence_lab
        options: {{ip: "{bmc}"}}
        secrets: {{passwd: {{file: /etc/clusterctl/secrets/bmc-{name}}}}}
"""
FENCE_LAB = """\
#!/bin/sh
# A fence agent that drives a BMC with ipmitool.
while IFS='=' read -r key value; do
  case $key in ip) ip=$value ;; passwd) IPMI_PASSWORD=$value ;; action) action=$value ;; esac
done
export IPMI_PASSWORD
power() { ipmitool -I lanplus -C 3 -N 1 -R 2 -H "$ip" -U admin -E chassis power "$1"; }
case $action in
  status | monitor)
    said=$(power status) || exit 1
    case $action:$said in status:*off) exit 2 ;; *) exit 0 ;; esac ;;
  *) power "$action" ;;
esac
"""


def test_the_second_level_fences_when_the_first_is_dead(cluster: ClusterUnderTest) -> None:
    lab = cluster.lab.plan
    for name in cluster.servers:
        program = lab.node_directory(name) / "clusterctl" / "fence-agents" / "fence_lab"
        program.parent.mkdir(exist_ok=True)
        program.write_text(FENCE_LAB)
        program.chmod(0o755)
        spec = lab.directory / "specs" / f"{name}.yaml"
        before = spec.read_text().partition("  fencing:")[0]
        levels = LEVELS.format(bmc=lab.node(name).bmc_address, name=name)
        spec.write_text(f"{before}{levels}    afterFence: on\n")
    cluster.ctl("apply", str(lab.directory / "specs"))
    owner = cluster.owner()
    boot, began = cluster.status(f"server/{owner}")["bootId"], now_wall()
    cluster.break_("crash", owner)
    cluster.wait_group(not_on=owner, timeout_s=2 * WAIT_S)
    cluster.beats_on(cluster.owner())
    levels = [e["level"] for e in cluster.events("fence_requested", since=began)]
    assert levels[0] == 0
    assert 1 in levels
    cluster.wait_new_boot(owner, boot)


def test_time_alone_moves_a_group_that_must_stop_without_the_store(
    guarded: ClusterUnderTest,
) -> None:
    stop = "onStoreLoss: stop\n  proofs: [released, fenced, expired, confirmed]"
    guarded.apply_group(group=stop)
    guarded.ctl("move", "web")  # the policy in force is that of the grant
    guarded.wait_group()
    owner = guarded.owner()
    guarded.break_("bmc", owner, "dead")
    guarded.break_("crash", owner)
    guarded.wait_group(not_on=owner, timeout_s=2 * WAIT_S)
    assert guarded.group()["proof"] == "expired"


def test_an_owner_without_the_store_stops_itself_under_stop(guarded: ClusterUnderTest) -> None:
    stop = "onStoreLoss: stop\n  proofs: [released, fenced, expired, confirmed]"
    guarded.apply_group(group=stop)
    guarded.ctl("move", "web")
    guarded.wait_group()
    owner = guarded.owner()
    guarded.break_("bmc", owner, "dead")
    guarded.break_("cut", owner, "--network", "private")  # heartbeats go on over the other one
    guarded.wait_group(not_on=owner, timeout_s=2 * WAIT_S)
    assert guarded.group()["proof"] == "expired"
