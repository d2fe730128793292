"""From suspicion to intent: challenges, attempts, and when a server may be fenced at all.

Invariants: one fence at a time; no fence that would lose the store's quorum; none of a server that
answers or is heard; an unanswered or failed fence is never a proof.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from reconciler.decide.actions import AskMembers, Effect, PrepareFence, Reason, Write
from reconciler.decide.boots import boots_of
from reconciler.decide.deafness import DEAF, answer_due, cut_off, deaf_challenges, deaf_owners
from reconciler.decide.deserting import DESERTED, deserted_at, deserting
from reconciler.decide.draining import is_leaving
from reconciler.decide.fence_attempts import executors, failures, is_tried, retry_at
from reconciler.decide.fence_execution import ASKED, SILENT, abandoned, execution
from reconciler.decide.keys import Keys
from reconciler.decide.membership import (
    Role,
    Standing,
    agreed_silent,
    can_judge,
    proven_off,
    session_of,
    slot_open,
    standing,
    unreadable,
)
from reconciler.decide.records import (
    Challenge,
    FenceIntent,
    OperationKind,
    OperationPhase,
)
from reconciler.decide.snapshot import Snapshot, StoreMember
from reconciler.decide.store_life import in_doubt

INTENT_VALID_S = 10.0
CHALLENGE_RENEW_S = 5.0
CHALLENGE_LEAD_S = 1.0
MEMBERS_FRESH_S = 1.0
MEMBERS_ASK_S = 0.3


class Suspicion(StrEnum):
    """Why a server is, or is not, to be fenced."""

    NONE = "none"
    WAITING_FOR_ANSWER = "waiting-for-answer"
    ANSWERS_THROUGH_STORE = "answers-through-store"
    DEAD_OR_ISOLATED = "dead-or-isolated"


@dataclass(frozen=True, slots=True)
class FencingPlan:
    """`blocked` maps a server that needs fencing to why it cannot be fenced now."""

    challenges: tuple[Write, ...] = ()
    intent: Write | None = None
    results: tuple[Write, ...] = ()
    effects: tuple[Effect, ...] = ()
    blocked: tuple[tuple[str, str], ...] = ()
    wake_at: tuple[float, ...] = ()


def matters(snapshot: Snapshot, server: str) -> bool:
    """A server that has a session or owns something that is neither released nor proven off, or
    may run something from before the store was restored."""
    session = session_of(snapshot, server)
    if (session is not None and not is_leaving(snapshot, server)) or in_doubt(snapshot, server):
        return True
    for name, stored in snapshot.ownerships.items():
        own = stored.record
        if own.owner != server or proven_off(snapshot, server, own.boot_id):
            continue
        release = snapshot.releases.get(name)
        if release is None or release.record.epoch != own.epoch:
            return True
    return False


def suspicion(snapshot: Snapshot, server: str) -> Suspicion:
    """The four quadrants of detection, for one other server."""
    peer = snapshot.peers.peers.get(server)
    if peer is None or not (peer.suspect or peer.silent) or not can_judge(snapshot):
        return Suspicion.NONE
    if _answered(snapshot, server):
        return Suspicion.ANSWERS_THROUGH_STORE
    challenge = snapshot.challenges.get(server)
    if challenge is None or not _outstanding(snapshot, server):
        return Suspicion.WAITING_FOR_ANSWER
    waited = snapshot.now - challenge.seen_at
    if not agreed_silent(snapshot, server) or waited < snapshot.specs.timing.challenge_timeout:
        return Suspicion.WAITING_FOR_ANSWER
    return Suspicion.DEAD_OR_ISOLATED


def _outstanding(snapshot: Snapshot, server: str) -> bool:
    """The challenge belongs to this suspicion: nothing was heard since it was stored."""
    challenge, own = snapshot.challenges.get(server), snapshot.own_session
    if challenge is None or snapshot.now - challenge.seen_at > CHALLENGE_RENEW_S:
        return False
    if own is not None and challenge.mod_revision < own.mod_revision:
        return False  # `seen_at` is when this agent began: how old it is can not be known
    heard_at = snapshot.peers.peers[server].heard_at
    return heard_at is None or challenge.seen_at > heard_at


def _answered(snapshot: Snapshot, server: str) -> bool:
    challenge, answer = snapshot.challenges.get(server), snapshot.answers.get(server)
    return (
        challenge is not None
        and answer is not None
        and answer.record.nonce == challenge.record.nonce
        and _outstanding(snapshot, server)
    )


def challenge_writes(snapshot: Snapshot, keys: Keys, suspects: Sequence[str]) -> list[Write]:
    """A new challenge for each suspect without one that belongs to this suspicion."""
    writes = []
    for server in suspects:
        if _outstanding(snapshot, server) or _rests(snapshot, server):
            continue
        if unreadable(snapshot, keys.challenge(server)) is not None:
            continue
        stored = snapshot.challenges.get(server)
        heard_at = snapshot.peers.peers[server].heard_at
        again = stored is not None and (heard_at is None or stored.seen_at > heard_at)
        reason = None if again else Reason.of("server_challenged", server=server)
        writes.append(
            Write(
                key=keys.challenge(server),
                record=Challenge(server=server, challenger=snapshot.me),
                expected=stored.mod_revision if stored else 0,
                reason=reason,
            )
        )
    return writes


def _rests(snapshot: Snapshot, server: str) -> bool:
    """The next attempt to fence it is not due yet; the challenge is renewed just before."""
    ahead = snapshot.now + snapshot.specs.timing.challenge_timeout + CHALLENGE_LEAD_S
    return server in snapshot.specs.servers and retry_at(snapshot, server) > ahead


def plan_fencing(snapshot: Snapshot, keys: Keys, role: Role, *, cold: bool) -> FencingPlan:
    """What to do about silent servers; called for every role, an executor may have none.

    `cold`: the startup barrier stands. Who was never heard yet may still be booting, and is waited
    for like by everything else.
    """
    results, effects = execution(snapshot, keys)
    if role not in (Role.COORDINATOR, Role.VACANT, Role.DEPUTY):
        return FencingPlan(results=results, effects=effects)
    suspects = [
        name
        for name in sorted(snapshot.specs.servers)
        if name != snapshot.me
        and standing(snapshot, name) in (Standing.SUSPECT, Standing.SILENT, Standing.OFFLINE)
        and matters(snapshot, name)
        and _is_suspect(snapshot, name)
        and not (cold and snapshot.peers.peers[name].heard_at is None)
    ]
    asked_for = wished(snapshot)
    near = [name for name in suspects if not _rests(snapshot, name)]
    effects = effects + tuple(PrepareFence(name) for name in near)
    doomed = [*suspects, *asked_for, *deserters(snapshot), *deaf_owners(snapshot)]
    if doomed and not _members_asked(snapshot):
        effects = (*effects, AskMembers())
    wake = [snapshot.now + MEMBERS_ASK_S] if doomed else []
    wake.extend(deserted_at(snapshot, name) for name in deserting(snapshot))
    wake.extend(answer_due(snapshot, name) for name in deaf_owners(snapshot))
    for name in suspects:
        challenge = snapshot.challenges.get(name)
        lead = snapshot.specs.timing.challenge_timeout + CHALLENGE_LEAD_S
        wake.append(retry_at(snapshot, name) - lead + 0.001)
        if challenge is not None:
            wake.append(challenge.seen_at + snapshot.specs.timing.challenge_timeout)
            wake.append(challenge.seen_at + CHALLENGE_RENEW_S + 0.001)
    challenges = [*challenge_writes(snapshot, keys, suspects), *deaf_challenges(snapshot, keys)]
    victims = [n for n in suspects if suspicion(snapshot, n) is Suspicion.DEAD_OR_ISOLATED]
    victims += [n for n in cut_off(snapshot) if not _rests(snapshot, n)]
    victims += [n for n in deserters(snapshot) if n not in victims]
    victims += [n for n in asked_for if n not in victims]
    if role is Role.DEPUTY and snapshot.coordinator is not None:
        # A deputy's only intent deposes; whoever else is dead is the next coordinator's business.
        victims = [n for n in victims if n == snapshot.coordinator.record.server]
    if not results and role is Role.COORDINATOR:
        results = abandoned(snapshot, keys)
    if results:  # the slot is being freed in this very decision; the next one may open it again
        return FencingPlan(tuple(challenges), None, results, effects, (), tuple(wake))
    intent, blocked, retries = _choose_intent(snapshot, keys, victims)
    return FencingPlan(
        challenges=tuple(challenges),
        intent=intent,
        results=(),
        effects=effects,
        blocked=tuple(blocked),
        wake_at=tuple(wake + retries),
    )


def _is_suspect(snapshot: Snapshot, server: str) -> bool:
    peer = snapshot.peers.peers.get(server)
    return peer is not None and (peer.suspect or peer.silent) and can_judge(snapshot)


def wished(snapshot: Snapshot) -> list[str]:
    """Servers that an operator asked to fence, until one attempt worked or every way was tried."""
    found = set()
    for stored in snapshot.operations.values():
        operation = stored.record
        victim = operation.target.removeprefix("server/")
        tried = is_tried(snapshot, victim, stored.mod_revision)
        running = operation.phase is OperationPhase.RUNNING
        if operation.kind is OperationKind.FENCE and running and not tried:
            found.add(victim)
    return sorted(found)


def deserters(snapshot: Snapshot) -> list[str]:
    """Those of `deserting` whose next session was waited for long enough."""
    return [
        server
        for server in deserting(snapshot)
        if snapshot.now >= deserted_at(snapshot, server) and not _rests(snapshot, server)
    ]


def _choose_intent(
    snapshot: Snapshot, keys: Keys, victims: Sequence[str]
) -> tuple[Write | None, list[tuple[str, str]], list[float]]:
    blocked: list[tuple[str, str]] = []
    retries: list[float] = []
    for victim in victims:
        if slot_open(snapshot):
            slot = snapshot.fence_slot
            if slot is not None and slot.record.victim != victim:
                blocked.append((victim, f"a fence of {slot.record.victim} is in progress"))
            continue
        reason = obstacle(snapshot, victim)
        if reason is not None:
            blocked.append((victim, reason))
            continue
        due = retry_at(snapshot, victim)
        if due > snapshot.now:
            record = snapshot.fences[victim].record
            text = f"fencing {victim} failed {record.attempt} times: {record.detail}"
            blocked.append((victim, text))
            retries.append(due)
            continue
        return _intent(snapshot, keys, victim), blocked, retries
    return None, blocked, retries


def obstacle(snapshot: Snapshot, victim: str) -> str | None:
    """Why this server must not or cannot be fenced now; None if it can."""
    spec = snapshot.specs.servers.get(victim)
    if spec is None or spec.spec.fencing is None or not spec.spec.fencing.levels:
        return f"{victim} has no fence device"
    if not executors(snapshot, victim):
        return f"no other server is here to fence {victim}"
    keys = Keys(snapshot.specs.cluster.metadata.name)
    told = (keys.session(victim), keys.fence(victim), keys.challenge(victim), keys.answer(victim))
    if (problem := unreadable(snapshot, *told)) is not None:
        return problem
    others = [m for m in snapshot.store_members if m.server != victim]
    answering = sum(_answers_now(snapshot, member) for member in others)
    if answering * 2 <= len(snapshot.store_members):
        return f"fencing {victim} would lose the store's quorum ({answering} other members answer)"
    return None


def _answers_now(snapshot: Snapshot, member: StoreMember) -> bool:
    """Lately, and not before its server was switched off or fell silent: of two fences in a row the
    second counted on the member that the first had just ended."""
    at = member.answered_at
    if at is None or snapshot.now - at > MEMBERS_FRESH_S:
        return False
    fence, peer = snapshot.fences.get(member.server), snapshot.peers.peers.get(member.server)
    if fence is not None and fence.record.proves_off and fence.seen_at >= at:
        return False
    return peer is None or not peer.silent or peer.heard_at is None or at > peer.heard_at


def _members_asked(snapshot: Snapshot) -> bool:
    return any(
        m.answered_at is not None and snapshot.now - m.answered_at < MEMBERS_ASK_S
        for m in snapshot.store_members
    )


def _intent(snapshot: Snapshot, keys: Keys, victim: str) -> Write:
    failed = failures(snapshot, victim)
    choices = executors(snapshot, victim)
    fencing = snapshot.specs.servers[victim].spec.fencing
    levels = len(fencing.levels) if fencing else 1
    executor = choices[failed % len(choices)]
    session = snapshot.sessions.get(executor)
    level = (failed // len(choices)) % levels
    slot = snapshot.fence_slot
    why = _why(snapshot, victim)
    record = FenceIntent(
        victim=victim,
        covers=boots_of(snapshot, victim),
        executor=executor,
        executor_incarnation=session.record.incarnation if session else "",
        executor_boot=session.record.boot_id if session else "",
        level=level,
        attempt=failed + 1,
        valid_for_s=INTENT_VALID_S,
        counts_from=snapshot.now if executor == snapshot.me else None,
        requested_by=snapshot.me,
        reason=why,
        created_wall=snapshot.wall,
    )
    reason = Reason.of(
        "fence_requested",
        server=victim,
        executor=executor,
        level=level,
        attempt=failed + 1,
        why=why,
    )
    return Write(
        key=keys.fence_slot,
        record=record,
        expected=slot.mod_revision if slot else 0,
        reason=reason,
        depends=_signs_of_life(snapshot, keys, victim) if why != ASKED else (),
    )


def _signs_of_life(snapshot: Snapshot, keys: Keys, victim: str) -> tuple[tuple[str, int], ...]:
    """What would save the victim, as it is known here: an intent can arrive seconds later."""
    session, answer = snapshot.sessions.get(victim), snapshot.answers.get(victim)
    return (
        (keys.session(victim), session.mod_revision if session else 0),
        (keys.answer(victim), answer.mod_revision if answer else 0),
    )


def _why(snapshot: Snapshot, victim: str) -> str:
    if victim in wished(snapshot):
        return ASKED
    if victim in cut_off(snapshot):
        return DEAF
    if victim in deserters(snapshot):
        return DESERTED
    return SILENT
