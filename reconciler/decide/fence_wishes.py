"""Wishes about a server's power: an operator's fence, and a person's word that it is off."""

from collections.abc import Iterable

from reconciler.decide.actions import Effect, ProbeAddresses, Reason, Write
from reconciler.decide.boots import boots_of
from reconciler.decide.fence_attempts import is_tried
from reconciler.decide.fence_execution import still_proven, victim_addresses
from reconciler.decide.fencing import obstacle
from reconciler.decide.keys import Keys
from reconciler.decide.membership import (
    agreed_silent,
    can_judge,
    proven_off,
    reachable_peers,
    session_of,
    unreadable,
)
from reconciler.decide.records import FenceOutcome, FenceRecord, Operation, OperationPhase
from reconciler.decide.snapshot import Snapshot, Stored
from reconciler.decide.wish_steps import finish, running


def fence_step(snapshot: Snapshot, keys: Keys, stored: Stored[Operation]) -> Write | None:
    operation = stored.record
    victim = operation.target.removeprefix("server/")
    if victim not in snapshot.specs.servers:
        return finish(snapshot, keys, stored, False, f"there is no server {victim}")
    fence = snapshot.fences.get(victim)
    if operation.phase is OperationPhase.PENDING:
        reason = obstacle(snapshot, victim)
        if reason is not None and "members answer" not in reason:
            return finish(snapshot, keys, stored, False, reason)
        return running(keys, stored)
    if fence is not None and is_tried(snapshot, victim, stored.mod_revision):
        ok = fence.record.proves_off
        on = f"; it stays off: clusterctl fence on {victim}" if ok else ""
        return finish(snapshot, keys, stored, ok, f"{victim}: {fence.record.detail}{on}")
    return None


def confirm_step(
    snapshot: Snapshot, keys: Keys, stored: Stored[Operation]
) -> tuple[Write | None, Iterable[Effect], Iterable[Write]]:
    """A person swears that a server is off: refused while anything still hears it."""
    operation = stored.record
    victim = operation.target.removeprefix("server/")
    problem = unreadable(snapshot, keys.session(victim), keys.fence(victim))
    if problem is not None:
        return finish(snapshot, keys, stored, False, problem), (), ()
    boots = boots_of(snapshot, victim)
    if not boots or all(proven_off(snapshot, victim, boot) for boot in boots):
        text = f"nothing waits for a proof that {victim} is off"
        return finish(snapshot, keys, stored, False, text), (), ()
    if operation.boot_id not in boots:
        text = f"{victim} has been started again since; look at clusterctl get server/{victim}"
        return finish(snapshot, keys, stored, False, text), (), ()
    heard = _why_not_silent(snapshot, victim)
    if heard is not None:
        return finish(snapshot, keys, stored, False, heard), (), ()
    if session_of(snapshot, victim) is not None:
        ttl = snapshot.specs.timing.session_ttl
        text = f"{victim} still has a session in the store; try again in {ttl:.0f} s"
        return finish(snapshot, keys, stored, False, text), (), ()
    probe = snapshot.local_probes.get(operation.id)
    if probe is None:
        return None, [ProbeAddresses(operation.id, victim_addresses(snapshot, victim))], ()
    if probe.error:
        text = f"{snapshot.me} cannot see whether the addresses still answer: {probe.error}"
        return finish(snapshot, keys, stored, False, text), (), ()
    if probe.answered:
        address, mac = sorted(probe.answered.items())[0]
        text = f"{address} still answers from {mac}; {victim} is not off"
        return finish(snapshot, keys, stored, False, text), (), ()
    fence = snapshot.fences.get(victim)
    record = FenceRecord(
        server=victim,
        covers=boots,
        outcome=FenceOutcome.CONFIRMED_BY_PERSON,
        executor=snapshot.me,
        detail=f"{operation.who or 'somebody'} confirmed that it is off: {operation.why}",
        at_wall=snapshot.wall,
        earlier=still_proven(snapshot, victim, boots),
    )
    reason = Reason.of("fence_confirmed_by_person", server=victim, who=operation.who)
    session = snapshot.sessions.get(victim)
    proof = Write(
        keys.fence(victim),
        record,
        fence.mod_revision if fence else 0,
        reason,
        # It may have come back a moment ago, and our copy of the store may not know it yet.
        ((keys.session(victim), session.mod_revision if session else 0),),
    )
    done = finish(snapshot, keys, stored, True, f"{victim} counts as off")
    return done, (), (proof,)


def _why_not_silent(snapshot: Snapshot, victim: str) -> str | None:
    """Why this server cannot be called silent by everybody; None if it is."""
    if victim == snapshot.me:
        return f"{victim} is still heard: it decides for the cluster right now"
    if victim not in snapshot.specs.servers:
        return None  # nobody listens to it any more; its session and its addresses are asked for
    if not can_judge(snapshot):
        return f"{snapshot.me} was late itself and cannot say who is silent; try again"
    peer = snapshot.peers.peers.get(victim)
    if peer is None:
        return f"the pulse of {snapshot.me} does not listen to {victim} yet; try again"
    if agreed_silent(snapshot, victim):
        return None
    hearing = [n for n, o in reachable_peers(snapshot).items() if victim not in o.sees_silent]
    whom = f" by {', '.join(hearing)}" if peer.silent else ""
    return f"{victim} is still heard{whom}; it is not off"
