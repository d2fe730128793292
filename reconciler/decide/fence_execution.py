"""The executor's side of a fence: which intent to run, and what a power-off report is worth.

Invariants: an intent is executed by the incarnation that it names, while it is valid, once; what
comes of it never takes away a proof; a report that anything contradicts is none.
"""

from reconciler.decide.actions import Effect, ExecuteFence, Reason, Write
from reconciler.decide.boots import boots_of
from reconciler.decide.hearing import PeersView
from reconciler.decide.keys import Keys
from reconciler.decide.membership import (
    can_judge,
    named_in_slot,
    session_proven,
    slot_open,
    unreadable,
)
from reconciler.decide.records import FenceIntent, FenceOutcome, FenceRecord
from reconciler.decide.snapshot import LocalFence, Snapshot, Specs, Stored

ASKED = "asked by an operator"
SILENT = "silent and unanswered"
"""Reasons of an intent; one that rests on silence is over when the victim is heard again."""


def execution(snapshot: Snapshot, keys: Keys) -> tuple[tuple[Write, ...], tuple[Effect, ...]]:
    """The executor's side: run the intent that names me, then record what came of it."""
    slot = _own_intent(snapshot)
    if slot is None:
        return (), ()
    intent = slot.record
    done = snapshot.local_fences.get(intent.nonce)
    if done is None and _is_over(snapshot, slot):
        text = f"{intent.victim} is heard again; nothing was sent to its device"
        done = LocalFence(FenceOutcome.FAILED, text)
    if done is not None:
        return (_result(snapshot, keys, intent, done)), ()
    if intent.counts_from is None or named_in_slot(snapshot, snapshot.me):
        return (), ()
    valid_until = intent.counts_from + intent.valid_for_s
    if snapshot.now >= valid_until:
        return (), ()
    addresses = victim_addresses(snapshot, intent.victim)
    return (), (ExecuteFence(intent, slot.mod_revision, valid_until, addresses),)


def claims(snapshot: Snapshot, keys: Keys) -> tuple[Write, ...]:
    """An intent that another server wrote may have been long on its way: its executor writes it
    again before it acts. Everybody counts from that, and it itself from before it was sent."""
    slot = _own_intent(snapshot)
    if slot is None or slot.record.counts_from is not None or named_in_slot(snapshot, snapshot.me):
        return ()
    intent = slot.record
    late = snapshot.now >= slot.seen_at + intent.valid_for_s / 2
    if late or intent.nonce in snapshot.local_fences or _is_over(snapshot, slot):
        return ()
    claimed = intent.model_copy(update={"counts_from": snapshot.now})
    return (Write(keys.fence_slot, claimed, slot.mod_revision),)


def _own_intent(snapshot: Snapshot) -> Stored[FenceIntent] | None:
    """The open intent that names this incarnation of this agent."""
    slot, own = snapshot.fence_slot, snapshot.own_session
    if slot is None or slot.record.closed or slot.record.executor != snapshot.me:
        return None
    if own is None or slot.record.executor_incarnation != own.incarnation:
        return None
    # Else it may have stood still, and the intent may be older than it looks.
    return slot if session_proven(snapshot) else None


def _is_over(snapshot: Snapshot, slot: Stored[FenceIntent]) -> bool:
    """Not claimed yet, so nothing was sent, and the victim is heard here without a doubt: then it
    is not fenced late for having been silent."""
    intent = slot.record
    if intent.counts_from is not None or snapshot.now >= slot.seen_at + intent.valid_for_s:
        return False
    peer = snapshot.peers.peers.get(intent.victim)
    heard = peer is not None and not peer.suspect and not peer.silent and can_judge(snapshot)
    return heard and intent.reason == SILENT


def victim_addresses(snapshot: Snapshot, victim: str) -> tuple[str, ...]:
    """Addresses of the groups that the victim owns: nobody may answer for them afterwards."""
    found: list[str] = []
    for name, stored in sorted(snapshot.ownerships.items()):
        if stored.record.owner != victim:
            continue
        for resource in snapshot.specs.resources_of(name).values():
            found.extend(resource.spec.addresses())
    return tuple(found)


def _result(
    snapshot: Snapshot,
    keys: Keys,
    intent: FenceIntent,
    done: LocalFence,
    told: Reason | None = None,
) -> tuple[Write, ...]:
    stored = snapshot.fences.get(intent.victim)
    spec = snapshot.specs.servers.get(intent.victim)
    after = spec.spec.fencing.after_fence if spec and spec.spec.fencing else "stay-off"
    confirmed = done.outcome is FenceOutcome.CONFIRMED_OFF
    record = FenceRecord(
        server=intent.victim,
        covers=intent.covers,
        outcome=done.outcome,
        executor=intent.executor,
        level=intent.level,
        attempt=intent.attempt,
        detail=done.detail,
        guid=done.guid,
        at_wall=snapshot.wall,
        duration_ms=done.duration_ms,
        # An operator who asked for it wants it off; whoever switches it on again does it by hand.
        power_on_due=confirmed and after == "on" and intent.reason != ASKED,
        earlier=still_proven(snapshot, intent.victim, intent.covers if confirmed else ()),
    )
    reason = Reason.of(
        "fence_confirmed" if confirmed else "fence_failed",
        server=intent.victim,
        executor=intent.executor,
        outcome=done.outcome.value,
        detail=done.detail,
        attempt=intent.attempt,
        duration_ms=round(done.duration_ms, 1),
    )
    if not confirmed and _proven_meanwhile(snapshot, intent):
        # What a person or a device has proven since then is the last word.
        return (_closed(snapshot, keys, intent, told or reason),)
    put = Write(
        key=keys.fence(intent.victim),
        record=record,
        expected=stored.mod_revision if stored else 0,
        reason=None if told else reason,
    )
    return put, _closed(snapshot, keys, intent, told)


def _proven_meanwhile(snapshot: Snapshot, intent: FenceIntent) -> bool:
    stored, slot = snapshot.fences.get(intent.victim), snapshot.fence_slot
    if stored is None or slot is None or stored.mod_revision < slot.mod_revision:
        return False
    return all(stored.record.proof_for(boot) is not None for boot in intent.covers)


def still_proven(snapshot: Snapshot, server: str, anew: tuple[str, ...]) -> dict[str, FenceOutcome]:
    """What the stored record proves and the next one does not prove `anew`, for the boots that
    something still depends on."""
    stored = snapshot.fences.get(server)
    if stored is None:
        return {}
    found = {boot: stored.record.proof_for(boot) for boot in boots_of(snapshot, server)}
    return {b: proof for b, proof in found.items() if proof is not None and b not in anew}


def _closed(
    snapshot: Snapshot, keys: Keys, intent: FenceIntent, reason: Reason | None = None
) -> Write:
    slot = snapshot.fence_slot
    record = intent.model_copy(update={"closed": True, "nonce": ""})
    return Write(keys.fence_slot, record, slot.mod_revision if slot else 0, reason)


def abandoned(snapshot: Snapshot, keys: Keys) -> tuple[Write, ...]:
    """Close an intent whose time is over and of which nobody told the end: its executor is gone, or
    cannot do it. A failed attempt like any other: else the same one would be asked for ever."""
    slot = snapshot.fence_slot
    if slot is None or slot.record.closed or slot_open(snapshot):
        return ()
    intent = slot.record
    if unreadable(snapshot, keys.fence(intent.victim)) is not None:
        return (_closed(snapshot, keys, intent, _abandoned(intent)),)
    done = LocalFence(FenceOutcome.FAILED, f"{intent.executor} told no end of it in its time")
    return _result(snapshot, keys, intent, done, _abandoned(intent))


def _abandoned(intent: FenceIntent) -> Reason:
    return Reason.of(
        "fence_abandoned",
        server=intent.victim,
        executor=intent.executor,
        attempt=intent.attempt,
    )


def plain_guid(text: str) -> str:
    """Devices and people write the same GUID with and without dashes."""
    return "".join(c for c in text.lower() if c.isalnum())


def ends_all(boot_id: str | None, covers: tuple[str, ...], newest: str | None) -> bool:
    """Whether a device that ended this boot (None: the power itself) ended all that are covered.
    Of several, only the session's boot is known to be the newest; the others are over with it."""
    if boot_id is None:
        return True
    return boot_id in covers and (len(covers) == 1 or boot_id == newest)


def delay_s(specs: Specs, server: str) -> float:
    """How late the last heartbeat of a server may be heard: what it wrote to a disk is found there
    in the next round, and a serial line is slow."""
    usual = specs.timing.heartbeat_interval
    paths = specs.cluster.spec.heartbeat_paths
    return max((p.every(usual) for p in paths if server in p.devices), default=0.0)


def time_to_silence_s(specs: Specs, server: str) -> float:
    """How long a server that was heard till now may take to be called silent: its slowest path
    counts."""
    timing = specs.timing
    slowest = max(timing.heartbeat_interval, delay_s(specs, server))
    return slowest * (timing.heartbeat_misses + 2)


def not_wanted(intent: FenceIntent, peers: PeersView) -> str | None:
    """Why the command must not leave any more, asked right before: who is fenced for having been
    silent must be so now, as this server hears it."""
    peer = peers.peers.get(intent.victim)
    if intent.reason != SILENT or peer is None:
        return None
    if not peers.pulse_alive or peers.paused:
        return f"this server stood still, and cannot tell whether {intent.victim} is silent now"
    if not peer.suspect and not peer.silent:
        return f"{intent.victim} is heard again; nothing was sent to its device"
    return None


def judge_power_off(
    *,
    before_on: bool,
    after_off: bool,
    guid: str | None,
    expected_guid: str | None,
    peers: PeersView,
    victim: str,
    confirmed_at: float,
    answered: dict[str, str],
) -> tuple[FenceOutcome, str]:
    """What a fence device's report is worth, cross-checked with what else is known.

    `answered` maps an address of the victim's groups to the MAC that still answers for it.
    """
    if not after_off:
        return FenceOutcome.FAILED, "the power still reads on after the command"
    if expected_guid and (guid is None or plain_guid(guid) != plain_guid(expected_guid)):
        told = f"says it is {guid}" if guid is not None else "tells no GUID"
        return FenceOutcome.FAILED, f"the device {told}, expected {expected_guid}"
    peer = peers.peers.get(victim)
    if peer is None or not peers.pulse_alive:
        text = f"the device says off, but the pulse here cannot tell whether {victim} is silent"
        return FenceOutcome.FAILED, text
    if peer.heard_at is not None and peer.heard_at > confirmed_at:
        text = f"the device says off, but {victim} still sends heartbeats"
        return FenceOutcome.CONTRADICTED, text
    if answered:
        address, mac = sorted(answered.items())[0]
        text = f"the device says off, but {address} still answers from {mac}"
        return FenceOutcome.CONTRADICTED, text
    if not peer.silent:
        text = f"the device reads off, but {victim} is not silent on every path"
        return FenceOutcome.CONTRADICTED, text
    if not before_on and (guid is None or expected_guid is None):
        text = "the device read off before the command, and its identity is not known"
        return FenceOutcome.FAILED, text
    return FenceOutcome.CONFIRMED_OFF, "power read off after the command"
