"""What a lab is doing now, as one JSON-able dictionary. Used by `lab status`, demo and tests."""

from typing import Any

from clusterctl.lab import faults, inside, plan, power


def lab_status(lab: plan.Plan) -> dict[str, Any]:
    """Servers with power, processes, BMC mode; cuts in force. A dead daemon is shown only."""
    try:
        modes = inside.ask_daemon(lab, {"do": "status"})["modes"]
    except plan.LabError:
        modes = {}
    return {
        "name": lab.name,
        "directory": str(lab.directory),
        "daemon": "answers" if modes else "does not answer",
        "context": str(lab.directory / "context.yaml"),
        "networks": {network: lab.cidr(network) for network in plan.NETWORKS},
        "servers": [server_status(lab, node, modes.get(node.name)) for node in lab.servers],
        "client": {"address": lab.node(plan.CLIENT).addresses["public"]},
        "cuts": [
            {"server": cut.server, "network": cut.network, "from": cut.other} | _limits(cut)
            for cut in faults.current_cuts(lab)
        ],
    }


def _limits(cut: faults.Cut) -> dict[str, Any]:
    """In what the cut is less than whole."""
    limits: dict[str, Any] = {}
    if cut.traffic != "all":
        limits["only"] = cut.traffic
    if cut.direction != "both":
        limits["direction"] = cut.direction
    if cut.loss < 100:
        limits["loss"] = cut.loss
    return limits


def server_status(lab: plan.Plan, node: plan.Node, mode: str | None) -> dict[str, Any]:
    state = power.read(lab.node_directory(node.name))
    running = state.running
    return {
        "name": node.name,
        "power": "on" if state.on else "off",
        "state": _state(lab, node, state),
        "bootId": state.boot_id if running else None,
        "init": state.init if running else None,
        "addresses": node.addresses,
        "bmc": {"address": node.bmc_address, "mode": mode},
        "processes": inside.processes(state),
    }


def _state(lab: plan.Plan, node: plan.Node, state: power.Power) -> str:
    if not state.running:
        return "crashed" if state.on else "off"
    return "paused" if faults.is_paused(lab, node) else "running"
