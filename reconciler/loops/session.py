"""Keeps this agent's session: lease, session record, renewals; answers challenges at once.

A session is created only by a transaction that finds no open fence of this server and the
ownership records unchanged: whoever still owns after it, owned all the time.
"""

import asyncio
from dataclasses import replace

from reconciler.decide.membership import named_in_slot, proven_off
from reconciler.decide.records import OLDEST_SCHEMA, SCHEMA, Answer, Session
from reconciler.decide.snapshot import KnownStore, OwnSession, Snapshot, Stored
from reconciler.decide.store_life import doubt, generation, left_from_before
from reconciler.loops.state import AgentState
from reconciler.ports.store import (
    Indeterminate,
    LeaseLost,
    Put,
    StoreError,
    Transaction,
    Unchanged,
)

RETRY_S = 0.3
REMEMBER_EVERY_S = 10.0
WATCHDOG_WAIT_S = 2.0
WATCHDOG_LOOK_S = 0.05


class SessionLoop:
    def __init__(self, state: AgentState, version: str) -> None:
        self._state = state
        self._version = version
        self._doubted = ""
        self._remember_at = float("-inf")

    async def run(self) -> None:
        """For ever: a session whenever the store lets us have one."""
        state = self._state
        while True:
            snapshot = state.snapshot()
            if snapshot is None:
                await state.clock.sleep(0.05)
                continue
            try:
                if state.own_session is None:
                    await self._create(snapshot)
                else:
                    await self._renew(snapshot)
            except LeaseLost as error:
                self._lost(str(error))
            except StoreError as error:
                state.events.emit("session_renewal_failed", error=str(error))
                self._report("no-quorum")
                await state.clock.sleep(state.jitter(RETRY_S))

    async def _create(self, snapshot: Snapshot) -> None:
        state = self._state
        if (reason := self._why_no_session(snapshot)) is not None:
            self._doubt(reason)
            self._report("no-quorum")
            await state.clock.sleep(state.jitter(RETRY_S))
            return
        self._doubted = ""
        if named_in_slot(snapshot, state.me) or proven_off(snapshot, state.me, state.boot_id):
            # Being fenced, or declared off: only a new boot, or the end of the fence, helps.
            self._report("quorum")
            await state.clock.sleep(state.jitter(RETRY_S))
            return
        if waits_for_watchdog(snapshot, state.clock.now() - state.started_at):
            await state.clock.sleep(WATCHDOG_LOOK_S)
            return
        timing = snapshot.specs.timing
        proof = await state.store.grant(timing.session_ttl)
        incarnation = state.nonce()
        facts = _facts(snapshot)
        record = Session(
            schema=OLDEST_SCHEMA,
            reads_schema=SCHEMA,
            nonce=incarnation,
            server=state.me,
            boot_id=state.boot_id,
            incarnation=incarnation,
            lease=proof.lease,
            version=self._version,
            generation=generation(snapshot),
            started_wall=state.clock.wall(),
            **facts,
        )
        key = state.keys.session(state.me)
        transaction = Transaction(
            compares=self._compares(snapshot),
            operations=(Put(key, record.to_bytes(), proof.lease),),
            guard=key,
        )
        result = await state.store.commit(transaction)
        if not result.succeeded:
            await state.store.revoke(proof.lease)
            await state.mirror.reread()
            await state.clock.sleep(state.jitter(0.05))
            return
        state.mirror.apply_own(key, record.to_bytes(), result.revision)
        valid_until = proof.sent_at + proof.ttl_s
        state.own_session = OwnSession(incarnation, proof.lease, result.revision, valid_until)
        state.proof_at, state.proven = proof.sent_at, True
        state.events.emit("session_created", incarnation=incarnation, boot_id=state.boot_id)
        self._report("quorum")
        state.wake()

    def _compares(self, snapshot: Snapshot) -> tuple[Unchanged, ...]:
        keys, me = self._state.keys, self._state.me
        session = snapshot.sessions.get(me)
        slot, fence, life = snapshot.fence_slot, snapshot.fences.get(me), snapshot.store_life
        compares = [
            Unchanged(keys.session(me), session.mod_revision if session else 0),
            Unchanged(keys.fence_slot, slot.mod_revision if slot else 0),
            Unchanged(keys.fence(me), fence.mod_revision if fence else 0),
            Unchanged(keys.store_life, life.mod_revision if life else 0),
        ]
        for group in sorted(snapshot.local_groups)[:100]:
            key, stored = keys.group(group), snapshot.ownerships.get(group)
            # One that nobody here can read blocks its own group only.
            unread = self._state.mirror.unreadable.get(key, 0)
            compares.append(Unchanged(key, stored.mod_revision if stored else unread))
        return tuple(compares)

    def _why_no_session(self, snapshot: Snapshot) -> str | None:
        """The store is in doubt, or it was restored and something from before runs here still: a
        session of the new generation is the proof that nothing does."""
        if (reason := doubt(snapshot)) is not None:
            return reason
        if left := left_from_before(snapshot):
            return f"{', '.join(left)} still runs from before the store was restored"
        return self._remember(snapshot, snapshot.revision, always=True)

    def _remember(self, snapshot: Snapshot, revision: int, *, always: bool = False) -> str | None:
        """Keep durably which store this is and how far it was; a sentence if that failed."""
        state = self._state
        known, now = state.known_store, state.clock.now()
        if not snapshot.store_id or (not always and now < self._remember_at):
            return None
        new = KnownStore(snapshot.store_id, generation(snapshot), revision)
        if new == known:
            return None
        self._remember_at = now + REMEMBER_EVERY_S
        try:
            state.remember_store(new)
        except OSError as error:
            state.events.emit("store_not_remembered", error=str(error))
            return f"the store cannot be remembered: {error}"
        if known is not None and known.generation != new.generation:
            state.events.emit("store_accepted", generation=new.generation)
        return None

    def _doubt(self, reason: str) -> None:
        if reason != self._doubted:
            self._doubted = reason
            self._state.events.emit("store_doubted", reason=reason)

    async def _renew(self, snapshot: Snapshot) -> None:
        state = self._state
        own = state.own_session
        if own is None:
            return
        life, known = snapshot.store_life, state.known_store
        newer = life is not None and known is not None and life.record.generation > known.generation
        if newer or doubt(snapshot) is not None:
            self._lost("the store was restored from a backup")
            return
        self._remember(snapshot, snapshot.revision)
        timing = snapshot.specs.timing
        state.renewal_due.clear()
        proof = await state.store.keep_alive(own.lease, timeout_s=timing.session_renewal)
        state.own_session = OwnSession(
            own.incarnation, own.lease, own.mod_revision, proof.sent_at + proof.ttl_s
        )
        state.proof_at = max(state.proof_at, proof.sent_at) if state.proven else proof.sent_at
        state.proven = True
        self._report("quorum")
        stored = state.mirror.maps["sessions"].get(state.me)
        if stored is None or stored.record.incarnation != own.incarnation:
            # Also when somebody removed it: a lease without its session is worth nothing.
            self._lost("this server's session was removed, or another incarnation has taken it")
            return
        await self._publish_facts(snapshot, own, stored)
        await self._rest(timing.session_renewal)

    async def _rest(self, duration_s: float) -> None:
        """Until the next renewal; a pause that has ended needs one now."""
        state = self._state
        waits = [
            asyncio.ensure_future(state.clock.sleep(duration_s)),
            asyncio.ensure_future(state.renewal_due.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _publish_facts(
        self, snapshot: Snapshot, own: OwnSession, stored: Stored[Session]
    ) -> None:
        """What others reckon with when this session ends: written before it becomes longer."""
        facts = _facts(snapshot)
        if all(getattr(stored.record, name) == value for name, value in facts.items()):
            return
        state, key = self._state, self._state.keys.session(self._state.me)
        record = stored.record.model_copy(update={**facts, "nonce": state.nonce()})
        result = await state.store.commit(
            Transaction(
                (Unchanged(key, stored.mod_revision),),
                (Put(key, record.to_bytes(), own.lease),),
                guard=key,
            )
        )
        if result.succeeded:
            state.mirror.apply_own(key, record.to_bytes(), result.revision)
            state.own_session = replace(own, mod_revision=result.revision)

    def _lost(self, reason: str) -> None:
        self._state.own_session = None
        self._state.events.emit("session_lost", reason=reason)
        self._state.wake()

    def _report(self, store: str) -> None:
        state = self._state
        # An agent that was never proven says nothing: the pulse's older proof must age on.
        state.peers.report(store=store, proven_at=state.proof_at if state.proven else None)


def _facts(snapshot: Snapshot) -> dict[str, float]:
    """How long this server may act after its last proof, as it is or is about to be."""
    pulse, server = snapshot.peers, snapshot.specs.servers.get(snapshot.me)
    wanted = server.spec.watchdog.timeout if server and server.spec.watchdog else 0.0
    return {
        "watchdog_s": max(pulse.watchdog_s, wanted) if pulse.watchdog_s else 0.0,
        "dead_man_s": max(pulse.dead_man_s, snapshot.specs.timing.dead_man),
    }


def waits_for_watchdog(snapshot: Snapshot, age_s: float) -> bool:
    """Whether a session made now would tell of no watchdog, although the pulse is about to have
    one: what is granted at once, as at a cold start, could never be taken over by time alone.
    Bounded by the age of this agent: one that cannot be armed keeps no server away."""
    server = snapshot.specs.servers.get(snapshot.me)
    wanted = server is not None and server.spec.watchdog is not None
    return wanted and not snapshot.peers.watchdog_s and age_s < WATCHDOG_WAIT_S


class AnswerLoop:
    """Answers challenges ahead of everything else."""

    def __init__(self, state: AgentState) -> None:
        self._state = state
        self._wake = state.new_wake()
        state.on_challenge = self._wake.set
        self._answered = ""

    async def run(self) -> None:
        state = self._state
        while True:
            await self._wake.wait()
            self._wake.clear()
            challenge = state.mirror.maps["challenges"].get(state.me)
            if challenge is None or challenge.record.nonce == self._answered:
                continue
            await self._answer(challenge.record.nonce)

    async def _answer(self, nonce: str) -> None:
        state = self._state
        key = state.keys.answer(state.me)
        stored = state.mirror.maps["answers"].get(state.me)
        if stored is not None and stored.record.nonce == nonce:
            self._answered = nonce
            return
        record = Answer(
            schema=OLDEST_SCHEMA,
            nonce=nonce,
            server=state.me,
            boot_id=state.boot_id,
            pulse_alive=state.peers.view().pulse_alive,
        )
        expected = stored.mod_revision if stored else 0
        transaction = Transaction(
            (Unchanged(key, expected),), (Put(key, record.to_bytes()),), guard=key
        )
        try:
            result = await state.store.commit(transaction, timeout_s=1.0)
        except Indeterminate as error:
            state.events.emit("challenge_answer_failed", error=str(error))
            self._wake.set()
            await state.clock.sleep(state.jitter(0.02))
            return
        except StoreError as error:
            state.events.emit("challenge_answer_failed", error=str(error))
            self._wake.set()
            await state.clock.sleep(state.jitter(0.05))
            return
        if result.succeeded:
            self._answered = nonce
            state.mirror.apply_own(key, record.to_bytes(), result.revision)
            state.events.emit("challenge_answered", nonce=nonce)
            return
        found = result.found.get(key)
        state.mirror.put(key, found, result.revision)
        self._wake.set()
