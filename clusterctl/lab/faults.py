"""Faults that `clusterctl lab` makes: cut networks, frozen servers, killed processes."""

import json
import os
import signal
import time
from dataclasses import dataclass

from clusterctl.lab import inside, links, plan, power

CUT_TABLE = "clusterctl-cut"
FREEZE_TIMEOUT_S = 5.0
PROGRAMS = ("agent", "pulse", "etcd", "enrolment")


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut that is in force: `server` reaches nobody on `network`, or only not `other`."""

    server: str
    network: str
    other: str | None = None


def cut(lab: plan.Plan, cuts: list[Cut]) -> None:
    """Drop everything between the named parties until `heal`; both directions."""
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
            server, network, other = rule["comment"].split("/")
            found[Cut(server, network, other or None)] = None
    return list(found)


def _table(table: str) -> list[str]:
    hooks = ("forward", "input", "output")
    chains = "\n".join(f"chain {h} {{ type filter hook {h} priority 0; }}" for h in hooks)
    return [f"table bridge {table} {{\n{chains}\n}}"]


def _rules(lab: plan.Plan, table: str, each: Cut) -> list[str]:
    port = plan.port_name(lab.node(each.server), each.network)
    comment = f'drop comment "{each.server}/{each.network}/{each.other or ""}"'
    if each.other:
        other = plan.port_name(lab.node(each.other), each.network)
        pairs = ((port, other), (other, port))
        return [
            f"add rule bridge {table} forward iifname {here} oifname {there} {comment}"
            for here, there in pairs
        ]
    return [
        f"add rule bridge {table} forward iifname {port} {comment}",
        f"add rule bridge {table} forward oifname {port} {comment}",
        f"add rule bridge {table} input iifname {port} {comment}",
        f"add rule bridge {table} output oifname {port} {comment}",
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
