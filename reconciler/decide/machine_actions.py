"""What a server does to itself as a final action of a monitor or a group, and when it must not.

Two limits bind these actions only: the others must be a majority without this server, and there
are only so many in a while, reboots included. Neither binds what safety demands: the dead-man, the
watchdog, what cannot be stopped.
"""

from enum import StrEnum

from reconciler.decide.actions import ActOnMachine, Effect, ForgetMachineActions
from reconciler.decide.group_case import FAILED_PREFIX
from reconciler.decide.membership import Standing, session_proven, standing
from reconciler.decide.placement import recent_failures
from reconciler.decide.records import OperationKind, OperationPhase, Wanted
from reconciler.decide.snapshot import Snapshot
from specs.group import Group
from specs.scalars import format_duration


class MachineAction(StrEnum):
    """STOP_AGENT, SHUTDOWN and REBOOT give the groups away first, for a bounded time; the others
    do not wait for anything."""

    STOP_AGENT = "stop-agent"
    SHUTDOWN = "shutdown"
    REBOOT = "reboot"
    CRASH = "crash"
    POWER_OFF = "power-off"
    POWER_CYCLE = "power-cycle"


IN_ORDER = (MachineAction.STOP_AGENT, MachineAction.SHUTDOWN, MachineAction.REBOOT)
OF_GROUPS = {
    "power-off-server": MachineAction.SHUTDOWN,
    "reboot-server": MachineAction.REBOOT,
}


def machine_obstacle(snapshot: Snapshot) -> str:
    """Why this server must not act on itself for the sake of a monitor or a group; "" if it may."""
    if not session_proven(snapshot):
        return "this server's session is not proven: without the store no final action is taken"
    others = [name for name in snapshot.specs.servers if name != snapshot.me]
    online = sum(standing(snapshot, name) is Standing.ONLINE for name in others)
    if online == 0:
        return "this is the last healthy server"
    if online * 2 <= len(others) + 1:
        return "without this server the others would be no majority"
    return limit_reached(snapshot)


def limit_reached(snapshot: Snapshot) -> str:
    """A sentence when this server acted on itself as often as it may; "" if not."""
    limit = snapshot.specs.cluster.spec.reboot_limit
    recent = [a for a in snapshot.machine_actions if snapshot.wall - a.wall < limit.window]
    if len(recent) < limit.max:
        return ""
    return (
        f"the reboot limit is reached: {limit.max} in {format_duration(limit.window)}; "
        f"clusterctl clear server/{snapshot.me}"
    )


def plan_machine(snapshot: Snapshot) -> tuple[Effect, ...]:
    """Final actions of groups that failed too often, last on this boot of this server; and the
    count, once an operator cleared it."""
    effects: list[Effect] = []
    if snapshot.machine_actions:
        cleared = _cleared_wall(snapshot)
        if any(action.wall <= cleared for action in snapshot.machine_actions):
            effects.append(ForgetMachineActions(cleared))
    for name, group in sorted(snapshot.specs.groups.items()):
        if (action := _final_action(snapshot, name, group)) is not None:
            effects.append(action)
    return tuple(effects)


def _cleared_wall(snapshot: Snapshot) -> float:
    return max(
        (
            stored.record.created_wall
            for stored in snapshot.operations.values()
            if stored.record.kind is OperationKind.CLEAR
            and stored.record.target == f"server/{snapshot.me}"
            and stored.record.phase is OperationPhase.DONE
        ),
        default=float("-inf"),
    )


def _final_action(snapshot: Snapshot, name: str, group: Group) -> ActOnMachine | None:
    """Once for an epoch: after the reboot it is another boot, and a restarted agent finds the
    action among those that it took."""
    action = OF_GROUPS.get(group.spec.final_action)
    if action is None:
        return None
    stored, release = snapshot.ownerships.get(name), snapshot.releases.get(name)
    verdict = snapshot.verdicts.get(name)
    if stored is None or release is None or verdict is None:
        return None
    record, given_up = stored.record, release.record
    parked = record.owner is None and record.wanted is Wanted.ONLINE
    mine = (given_up.server, given_up.boot_id) == (snapshot.me, snapshot.boot_id)
    if not (parked and mine and given_up.epoch == record.epoch):
        return None
    limit, failures = group.spec.failover, verdict.record.failures
    often = len(recent_failures(failures, limit.window, snapshot.wall)) >= limit.max_failures
    if not often or not given_up.cause.startswith(FAILED_PREFIX):
        return None
    key = f"{name}/{record.epoch}"
    if any(taken.key == key for taken in snapshot.machine_actions):
        return None
    return ActOnMachine(
        action.value, f"group {name} {record.cause}", key, machine_obstacle(snapshot)
    )
