"""The lab's promises: true power, faults that do what they say, servers that can't see the host."""

import json
from pathlib import Path

import pytest

from clusterctl.lab import kernel
from tests.integration.lab_under_test import LabUnderTest, eventually, needs_lab

pytestmark = needs_lab

REBOOT = "import ctypes; ctypes.CDLL(None).reboot(0x01234567)"


@pytest.fixture(autouse=True)
def _all_running(lab: LabUnderTest) -> None:
    """Whatever the test before left behind, this one begins with three running servers."""
    for server in lab.lab("status")["servers"]:
        if server["state"] == "paused":
            lab.lab("resume", server["name"])
        if server["state"] in ("off", "crashed"):
            lab.lab("power", server["name"], "on")
        if server["bmc"]["mode"] != "ok":
            lab.lab("bmc", server["name"], "ok")
    lab.lab("heal")
    for number in (1, 2, 3):
        eventually(
            lambda number=number: lab.reaches("n1", f"{_prefix(lab, 'private')}.{10 + number}"),
            f"etcd of n{number} answers",
        )


def _prefix(lab: LabUnderTest, network: str) -> str:
    return lab.plan.cidr(network).rpartition(".")[0]


def test_every_server_has_its_own_identity_files_and_addresses(lab: LabUnderTest) -> None:
    code, out, _ = lab.run("n2", "sh", "-c", "hostname; ls /etc/clusterctl; cat /etc/hostname")
    assert code == 0
    assert out.splitlines()[0] == "n2"
    assert "agent.yaml" in out
    _, addresses, _ = lab.run("n2", "ip", "-json", "-4", "address")
    found = {
        entry["ifname"]: entry["addr_info"][0]["local"]
        for entry in json.loads(addresses)
        if entry["addr_info"]
    }
    expected = lab.plan.node("n2").addresses
    assert (found["eth0"], found["eth1"], found["eth2"]) == tuple(expected.values())


def test_a_server_can_not_change_the_host(lab: LabUnderTest, tmp_path: Path) -> None:
    assert lab.run("n1", "touch", "/root/written-by-a-lab")[0] != 0
    lab.run("n1", "sh", "-c", "echo x > /etc/written-by-a-lab; echo x > /var/written-by-a-lab")
    assert not Path("/etc/written-by-a-lab").exists()
    assert not Path("/var/written-by-a-lab").exists()
    assert lab.run("n2", "ls", "/etc/written-by-a-lab")[0] != 0
    lab.run("n1", "sh", "-c", "echo shared > /srv/note")
    assert lab.run("n3", "cat", "/srv/note")[1] == "shared\n"


def test_all_three_etcd_members_have_a_vote_and_every_agent_knows_them(lab: LabUnderTest) -> None:
    for server in ("n1", "n2", "n3"):
        code, out, error = lab.run(server, "clusterctl", "cluster", "refresh", "-o", "json")
        assert code == 0, error
        answer = json.loads(out)
        assert len(answer["endpoints"]) == 3
        assert (
            answer["endpoints"][0] == f"https://{lab.plan.node(server).addresses['private']}:2379"
        )
        assert not answer["changed"]


def test_secrets_are_readable_by_root_only(lab: LabUnderTest) -> None:
    _, out, _ = lab.run(
        "n2",
        "find",
        "/etc/clusterctl",
        "-type",
        "f",
        "-size",
        "+0",
        "-perm",
        "/077",
        "-printf",
        "%p\n",
    )
    assert out == ""


def test_a_crashed_server_still_has_power(lab: LabUnderTest) -> None:
    lab.lab("crash", "n3")
    server = lab.server("n3")
    assert (server["state"], server["power"], server["init"]) == ("crashed", "on", None)
    assert lab.bmc("n3", "status") == "Chassis Power is on"
    assert not lab.reaches("n1", lab.plan.node("n3").addresses["private"])


def test_off_is_said_only_when_nothing_runs_any_more(lab: LabUnderTest) -> None:
    init = lab.server("n3")["init"]
    assert kernel.process_start(init) is not None
    assert "Down/Off" in lab.bmc("n3", "off")
    assert lab.bmc("n3", "status") == "Chassis Power is off"
    assert kernel.process_start(init) is None
    events = (lab.plan.cgroup / "n3" / "cgroup.events").read_text()
    assert "populated 0" in events


def test_power_cycle_keeps_disks_and_loses_memory(lab: LabUnderTest) -> None:
    before = lab.run("n3", "cat", "/run/clusterctl/boot-id")[1]
    lab.run("n3", "sh", "-c", "echo d > /var/lib/clusterctl/disk; echo d > /etc/disk; sync")
    lab.run("n3", "sh", "-c", "echo m > /run/memory; echo m > /tmp/memory")
    lab.bmc("n3", "off")
    lab.bmc("n3", "on")
    assert lab.run("n3", "cat", "/var/lib/clusterctl/disk", "/etc/disk")[1] == "d\nd\n"
    assert lab.run("n3", "ls", "/run/memory")[0] != 0
    assert lab.run("n3", "ls", "/tmp/memory")[0] != 0
    after = lab.run("n3", "cat", "/run/clusterctl/boot-id")[1]
    assert after != before
    assert after.strip() == lab.server("n3")["bootId"]


def test_reboot_inside_a_server_resets_that_server_only(lab: LabUnderTest) -> None:
    boots = {name: lab.server(name)["bootId"] for name in ("n1", "n2", "n3")}
    lab.run("n3", "python3", "-c", REBOOT)
    eventually(lambda: lab.server("n3")["bootId"] not in (None, boots["n3"]), "n3 has booted again")
    assert lab.server("n1")["bootId"] == boots["n1"]
    assert lab.server("n2")["bootId"] == boots["n2"]


def test_the_supervisor_restarts_a_killed_program(lab: LabUnderTest) -> None:
    (before,) = lab.server("n3")["processes"]["etcd"]
    lab.lab("kill", "n3/etcd")
    eventually(
        lambda: lab.server("n3")["processes"]["etcd"] not in ([], [before]), "etcd runs again"
    )


def test_cut_and_heal(lab: LabUnderTest) -> None:
    private, public = (lab.plan.node("n2").addresses[each] for each in ("private", "public"))
    lab.lab("cut", "n2", "--network", "private")
    assert not lab.reaches("n1", private)
    assert lab.reaches("n1", public)
    assert lab.lab("status")["cuts"] == [{"server": "n2", "network": "private", "from": None}]
    lab.lab("heal")
    assert lab.reaches("n1", private)


def test_cut_from_one_server_only(lab: LabUnderTest) -> None:
    private = lab.plan.node("n2").addresses["private"]
    lab.lab("cut", "n2", "--network", "all", "--from", "n1")
    assert not lab.reaches("n1", private)
    assert lab.reaches("n3", private)


def test_a_cut_of_the_stores_ports_only(lab: LabUnderTest) -> None:
    private = lab.plan.node("n2").addresses["private"]
    lab.lab("cut", "n2", "--network", "private", "--only", "store", "--from", "n1")
    lab.lab("cut", "n3", "--network", "private", "--direction", "in", "--loss", "30")
    assert not lab.reaches("n1", private)
    refused = "import socket, sys; sys.exit(socket.socket().connect_ex((sys.argv[1], 1)) != 111)"
    assert lab.run("n1", "python3", "-c", refused, private)[0] == 0, "other ports answer"
    assert lab.lab("status")["cuts"] == [
        {"server": "n2", "network": "private", "from": "n1", "only": "store"},
        {"server": "n3", "network": "private", "from": None, "direction": "in", "loss": 30},
    ]


def test_the_power_history_says_when_nothing_ran(lab: LabUnderTest) -> None:
    lab.lab("crash", "n3")
    lab.lab("power", "n3", "off")
    lab.lab("power", "n3", "on")
    path = lab.directory / "servers/n3/power-history.jsonl"
    history = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["power"] for line in history[-4:]] == ["stopped", "stopped", "off", "on"]
    assert [line["t"] for line in history] == sorted(line["t"] for line in history)


def test_a_server_cut_from_management_reaches_no_bmc_but_its_own_is_reached(
    lab: LabUnderTest,
) -> None:
    lab.lab("cut", "n2", "--network", "management")
    ask = ("ipmitool", "-I", "lanplus", "-C", "3", "-N", "1", "-R", "1", "-U", "admin", "-f")

    def power_of(victim: str, seen_from: str) -> int:
        secret = f"/etc/clusterctl/secrets/bmc-{victim}"
        address = lab.plan.node(victim).bmc_address
        return lab.run(seen_from, *ask, secret, "-H", address, "chassis", "power", "status")[0]

    assert power_of("n1", "n2") != 0
    assert power_of("n2", "n1") == 0


def test_a_paused_server_is_deaf_and_goes_on_where_it_was(lab: LabUnderTest) -> None:
    boot = lab.server("n3")["bootId"]
    address = lab.plan.node("n3").addresses["private"]
    lab.lab("pause", "n3")
    assert lab.server("n3")["state"] == "paused"
    assert not lab.reaches("n1", address)
    lab.lab("resume", "n3")
    assert lab.reaches("n1", address)
    assert lab.server("n3")["bootId"] == boot


def test_a_paused_server_can_be_fenced(lab: LabUnderTest) -> None:
    lab.lab("pause", "n3")
    assert "Down/Off" in lab.bmc("n3", "off")
    assert lab.server("n3")["state"] == "off"
    lab.bmc("n3", "on")
    assert lab.server("n3")["state"] == "running"
    eventually(
        lambda: lab.reaches("n1", lab.plan.node("n3").addresses["public"]), "n3 is back, not deaf"
    )


@pytest.mark.parametrize("mode", ["dead", "wrong-password"])
def test_a_failing_bmc(lab: LabUnderTest, mode: str) -> None:
    lab.lab("bmc", "n2", mode)
    assert "Unable to establish" in lab.bmc("n2", "status")
    assert lab.server("n2")["bmc"]["mode"] == mode
    lab.lab("bmc", "n2", "ok")
    assert lab.bmc("n2", "status") == "Chassis Power is on"


def test_a_bmc_that_lies(lab: LabUnderTest) -> None:
    lab.lab("bmc", "n2", "says-off")
    lab.bmc("n2", "off")
    assert lab.bmc("n2", "status") == "Chassis Power is off"
    assert lab.server("n2")["state"] == "running"


def test_exec_passes_output_and_exit_status_through(lab: LabUnderTest) -> None:
    assert lab.exec("client", "sh", "-c", "echo out; echo err >&2; exit 3") == (3, "out\n", "err\n")
