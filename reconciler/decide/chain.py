"""The events that led to a decision, in order of time, each as a short sentence.

Used by `explanation`. Times of different servers' clocks are taken as they are.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reconciler.decide.records import EventRecord, Ownership

BEFORE_S = 60.0
"""How long before a decision its causes are looked for."""
QUIET_S = 20.0
"""A pause in the events of a server after which a new story begins."""
MOST_STEPS = 24

_TEXTS: Mapping[str, str] = {
    "server_suspected": "{server} misses heartbeats",
    "server_silent": "{server} is silent on all networks",
    "server_challenged": "{server} is asked through the store whether it lives",
    "fence_requested": "{executor} is asked to power {server} off: {why} (attempt {attempt})",
    "fence_executed": "{server}: {outcome}: {detail}",
    "fence_confirmed": "{server} is proven off",
    "fence_failed": "{server} could not be proven off: {detail}",
    "fence_confirmed_by_person": "{who} confirmed that {server} is off",
    "server_powered_on": "{server} is switched on again",
    "server_held": "{server} may be without its agent: {why}",
    "server_hold_ended": "{server} is not held any more: {reason}",
    "group_granted": "group {group} is given to {server} at epoch {epoch}: {reason}",
    "group_online": "all of group {group} runs",
    "group_failed": "group {group} gives up here: {reason}",
    "group_stopped": "all of group {group} is stopped: {reason}",
    "group_released": "epoch {epoch} is given up for good: {reason}",
    "group_release_requested": "{server} is asked to stop it: {reason}",
    "group_parked": "nobody gets it: {reason}",
    "group_judged": "{phase}",
    "group_stop_failed": "it cannot be stopped: {reason}",
    "activation_waits": "the start waits: {reason}",
    "resource_started": "{resource} is started",
    "resource_stopped": "{resource} is stopped",
    "resource_start_failed": "{resource} does not start: {reason}",
    "resource_stop_failed": "{resource} does not stop: {reason}",
    "resource_drifted": "{resource} is found {found}: {reason}",
    "resource_drift_ended": "{resource} is as it should be again",
    "resources_restarted": "restarted: {reason}",
    "recovery_started": "monitor {monitor} takes its next step, {step}: {reason}",
    "monitor_suspected": "monitor {monitor}: a probe failed: {reason}",
    "monitor_faulted": "monitor {monitor} is faulty: {reason}",
    "monitor_recovered": "monitor {monitor} is healthy again",
    "monitor_parked": "monitor {monitor} is parked, final action {action}",
    "recovery_waits": "the recovery of monitor {monitor} waits: {reason}",
    "operation_started": "{who} asked for {kind} {target}",
    "operation_finished": "{kind} {target} is done: {result}",
    "operation_failed": "{kind} {target} failed: {result}",
    "machine_reset": "this server resets itself: {reason}",
}
_OF_SERVER = frozenset(
    ("server_suspected", "server_silent", "server_challenged", "server_powered_on")
) | frozenset(name for name in _TEXTS if name.startswith("fence_"))
_HELD = frozenset(("server_held", "server_hold_ended"))
_SAME_FROM_ALL = frozenset(("server_suspected", "server_silent", "server_challenged"))


@dataclass(frozen=True, slots=True)
class Step:
    """One event of the way; `server` is who reported it."""

    at_wall: float
    server: str
    event: str
    text: str

    @classmethod
    def of(cls, event: EventRecord) -> "Step":
        shown = {key: str(value) for key, value in event.fields.items() if value is not None}
        text = _TEXTS.get(event.name, event.name.replace("_", " "))
        words = text.format_map(defaultdict(lambda: "?", shown))
        took = event.fields.get("duration_ms")
        if isinstance(took, int | float) and took:
            words += f" ({took:.0f} ms)"
        return cls(event.at_wall, event.server, event.name, words)


def chain_of_group(
    group: str,
    ownership: Ownership | None,
    decided_wall: float,
    troubled: bool,
    events: Sequence[EventRecord],
) -> tuple[Step, ...]:
    """From the first sign before the last decision to the group being online, or to now if it does
    not run (`troubled`)."""
    if ownership is None:
        victim = None
    elif troubled:
        victim = ownership.owner or ownership.previous_owner
    else:
        victim = ownership.previous_owner
    mine = [
        event
        for event in _in_order(events)
        if _is_of_group(event, group) or (victim and _is_of_server(event, victim, _OF_SERVER))
    ]
    began = (mine[-1].at_wall if mine and troubled else decided_wall) - BEFORE_S
    found: list[EventRecord] = []
    for event in mine:
        if event.at_wall < began:
            continue
        if event.name == "group_online" and (troubled or event.at_wall < decided_wall):
            found.clear()  # what led to an earlier decision
            continue
        found.append(event)
        if event.name == "group_online":
            break
    return _steps(found)


def _is_of_group(event: EventRecord, group: str) -> bool:
    fields = event.fields
    if event.name not in _TEXTS or event.name == "group_judged":
        return False
    groups = fields.get("groups")
    return (
        fields.get("group") == group
        or fields.get("target") == f"group/{group}"
        or (isinstance(groups, list) and group in groups)
    )


def chain_of_server(server: str, events: Sequence[EventRecord]) -> tuple[Step, ...]:
    """The last story of this server, with the groups that it lost in it."""
    own = [e for e in _in_order(events) if _is_of_server(e, server, _OF_SERVER | _HELD)]
    if not own:
        return ()
    began = own[-1].at_wall
    for event in reversed(own):
        if began - event.at_wall > QUIET_S:
            break  # what was before belongs to another story
        began = event.at_wall
    return _steps(
        event
        for event in _in_order(events)
        if event.at_wall >= began
        and (
            _is_of_server(event, server, _OF_SERVER | _HELD)
            or (event.name == "group_granted" and event.fields.get("previous_owner") == server)
        )
    )


def _is_of_server(event: EventRecord, server: str, names: frozenset[str]) -> bool:
    return event.name in names and event.fields.get("server") == server


def chain_of_monitor(monitor: str, events: Sequence[EventRecord]) -> tuple[Step, ...]:
    """The last events of this monitor."""
    return _steps(e for e in _in_order(events) if e.fields.get("monitor") == monitor)


def _in_order(events: Iterable[EventRecord]) -> list[EventRecord]:
    return sorted(events, key=lambda event: (event.at_wall, event.id))


def _steps(events: Iterable[EventRecord]) -> tuple[Step, ...]:
    """What all servers report alike is told once; of too many the last are told."""
    told: set[tuple[str, object]] = set()
    steps: list[Step] = []
    for event in events:
        key = (event.name, event.fields.get("server"))
        if event.name == "server_powered_on":
            told.clear()
        if event.name in _SAME_FROM_ALL and key in told:
            continue
        told.add(key)
        steps.append(Step.of(event))
    return tuple(steps[-MOST_STEPS:])
