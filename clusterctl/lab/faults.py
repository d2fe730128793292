"""Faults that `clusterctl lab` makes: cut networks, frozen servers, killed processes."""

import json
import os
import signal
import time
from dataclasses import dataclass

from clusterctl.lab import inside, links, plan, power

CUT_TABLE = "clusterctl-cut"
FREEZE_TIMEOUT_S = 5.0
PROGRAMS = ("agent", "pulse", "etcd", "enrolment", "runner", "probe")
# What a cut may be limited to, as nftables says it; a cut of `all` needs no match.
TRAFFIC = {
    "all": ("",),
    "heartbeat": ("udp dport 7400 ",),
    "store": ("tcp dport { 2379, 2380 } ", "tcp sport { 2379, 2380 } "),
}
DIRECTIONS = ("both", "in", "out")


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut that is in force: `server` reaches nobody on `network`, or only not `other`.

    `traffic` is a key of TRAFFIC. `direction` is seen from the server: with `in` it is deaf, with
    `out` it is mute. `loss` is how many of a hundred packets are dropped.
    """

    server: str
    network: str
    other: str | None = None
    traffic: str = "all"
    direction: str = "both"
    loss: int = 100


def cut(lab: plan.Plan, cuts: list[Cut]) -> None:
    """Drop what the cuts name until `heal`."""
    rules = _table(CUT_TABLE)
    present = current_cuts(lab)
    for each in cuts:
        if each not in present:
            rules += _rules(lab, CUT_TABLE, each)
    inside.run_in_lab(lab, ["nft", "-f", "-"], "\n".join(rules) + "\n")


def heal(lab: plan.Plan) -> None:
    """Take back every cut."""
    rules = [*_table(CUT_TABLE), f"delete table bridge {CUT_TABLE}"]
    inside.run_in_lab(lab, ["nft", "-f", "-"], "\n".join(rules) + "\n")


def current_cuts(lab: plan.Plan) -> list[Cut]:
    """The cuts in force, read back from the kernel."""
    rules = json.loads(inside.run_in_lab(lab, ["nft", "-j", "list", "ruleset"]))["nftables"]
    found: dict[Cut, None] = {}
    for entry in rules:
        rule = entry.get("rule", {})
        if rule.get("table") == CUT_TABLE and rule.get("comment"):
            server, network, other, traffic, direction, loss = rule["comment"].split("/")
            each = Cut(server, network, other or None, traffic, direction, int(loss))
            found[each] = None
    return list(found)


def _table(table: str) -> list[str]:
    hooks = ("forward", "input", "output")
    chains = "\n".join(f"chain {h} {{ type filter hook {h} priority 0; }}" for h in hooks)
    return [f"table bridge {table} {{\n{chains}\n}}"]


def _rules(lab: plan.Plan, table: str, each: Cut) -> list[str]:
    port = plan.port_name(lab.node(each.server), each.network)
    if each.other:
        other = plan.port_name(lab.node(each.other), each.network)
        out = [f"forward iifname {port} oifname {other}"]
        into = [f"forward iifname {other} oifname {port}"]
    else:
        out = [f"forward iifname {port}", f"input iifname {port}"]
        into = [f"forward oifname {port}", f"output oifname {port}"]
    ways = {"out": out, "in": into, "both": out + into}[each.direction]
    loss = f"numgen random mod 100 < {each.loss} " if each.loss < 100 else ""
    words = (each.server, each.network, each.other or "", each.traffic, each.direction, each.loss)
    verdict = f'{loss}drop comment "{"/".join(map(str, words))}"'
    return [
        f"add rule bridge {table} {way} {match}{verdict}"
        for way in ways
        for match in TRAFFIC[each.traffic]
    ]


def require_running(lab: plan.Plan, node: plan.Node) -> None:
    """Raise `LabError` where there is nothing to break."""
    state = power.read(lab.node_directory(node.name))
    if not state.running:
        word = "has crashed already" if state.on else "is off"
        raise plan.LabError(f"{node.name} {word}: clusterctl lab power {node.name} on")


def pause(lab: plan.Plan, node: plan.Node) -> None:
    """Freeze a whole server as a hypervisor does: no process runs, its network is deaf and mute."""
    table = links.pause_table(node)
    rules = _table(table)
    for network in node.addresses:
        rules += _rules(lab, table, Cut(node.name, network))
    inside.run_in_lab(lab, ["nft", "-f", "-"], "\n".join(rules) + "\n")
    _freeze(lab, node, frozen=True)


def resume(lab: plan.Plan, node: plan.Node) -> None:
    """Let a frozen server run on; it does not know that time has passed."""
    _freeze(lab, node, frozen=False)
    table = links.pause_table(node)
    rules = [*_table(table), f"delete table bridge {table}"]
    inside.run_in_lab(lab, ["nft", "-f", "-"], "\n".join(rules) + "\n")


def is_paused(lab: plan.Plan, node: plan.Node) -> bool:
    try:
        return "frozen 1" in (lab.cgroup / node.name / "cgroup.events").read_text()
    except FileNotFoundError:
        return False


def _freeze(lab: plan.Plan, node: plan.Node, *, frozen: bool) -> None:
    cgroup = lab.cgroup / node.name
    (cgroup / "cgroup.freeze").write_text("1" if frozen else "0")
    deadline = time.monotonic() + FREEZE_TIMEOUT_S
    while is_paused(lab, node) != frozen:
        if time.monotonic() > deadline:
            raise plan.LabError(f"{node.name} does not {'freeze' if frozen else 'thaw'}")
        time.sleep(0.002)


def signal_program(lab: plan.Plan, node: plan.Node, program: str, number: signal.Signals) -> int:
    """Send a signal to every process of one program of a server; returns how many there were."""
    if program not in PROGRAMS:
        raise plan.LabError(f"no such program {program!r}; known are {', '.join(PROGRAMS)}")
    pids = inside.processes(power.read(lab.node_directory(node.name)))[program]
    if not pids:
        raise plan.LabError(f"no {program} runs on {node.name}")
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
    return len(pids)
