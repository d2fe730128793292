"""Carries out decisions: the coordinator's transaction, this server's own records, effects.

One task decides what must never wait for the store (local groups), one what is written.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from reconciler.decide.actions import (
    ActOnMachine,
    Decision,
    Effect,
    ForgetMachineActions,
    LocalWant,
    Reason,
    ResetSelf,
    StretchDeadline,
    Write,
)
from reconciler.decide.decide import decide, decide_locally
from reconciler.decide.expiry import must_hold
from reconciler.decide.membership import common_schema
from reconciler.decide.records import OLDEST_SCHEMA, Coordinator
from reconciler.decide.snapshot import Snapshot
from reconciler.loops.state import AgentState
from reconciler.ports.machine import ResetRefused
from reconciler.ports.store import (
    CommitResult,
    Delete,
    Indeterminate,
    Put,
    StoreError,
    Transaction,
    Unchanged,
)

ObeyMachine = Callable[[ActOnMachine | ForgetMachineActions], Awaitable[None]]
"""See `loops.machine.MachineHand.obey`."""

LOOK_AGAIN_S = 1.0
RESET_AGAIN_S = 5.0
COMMIT_TIMEOUT_S = 2.0


class LocalLoop:
    """Tells the group runners what they should do; resets the machine when that must be."""

    def __init__(
        self,
        state: AgentState,
        set_wants: Callable[[Mapping[str, LocalWant]], None],
        act_on_machine: ObeyMachine | None = None,
    ) -> None:
        self._state, self._set_wants, self._act = state, set_wants, act_on_machine
        self._acting: asyncio.Task[None] | None = None
        self._wake = state.new_wake()
        self._refused_at = float("-inf")
        self.prepare: Callable[[Mapping[str, str]], None] = lambda _: None

    async def run(self) -> None:
        while True:
            self._wake.clear()
            snapshot = self._state.snapshot()
            if snapshot is not None:
                decision = decide_locally(snapshot)
                self._hold(must_hold(snapshot), snapshot.peers.holds)
                self._set_wants(decision.local)
                self.prepare(decision.prepare)
                for effect in decision.effects:
                    if isinstance(effect, ResetSelf):
                        await self._reset(effect.reason)
                    elif isinstance(effect, StretchDeadline):
                        self._state.peers.stretch(effect.hold, effect.until)
                    elif isinstance(effect, ActOnMachine | ForgetMachineActions):
                        self._begin(effect)
            await wait_for(self._state, self._wake, LOOK_AGAIN_S / 4)

    def _begin(self, effect: ActOnMachine | ForgetMachineActions) -> None:
        """One at a time, beside this loop: giving groups away needs it."""
        if self._acting is None or self._acting.done():
            self._acting = asyncio.create_task(self._obeyed(effect))

    async def _obeyed(self, effect: ActOnMachine | ForgetMachineActions) -> None:
        try:
            if self._act is not None:
                await self._act(effect)
        except Exception as error:  # noqa: BLE001 - the other groups still need this agent
            self._state.events.emit("effect_failed", effect="machine", error=repr(error))

    def _hold(self, wanted: bool, held: bool) -> None:
        if wanted != held:
            self._state.peers.hold(wanted)

    async def _reset(self, reason: str) -> None:
        """What refuses once may work later; until then the other groups still need this loop."""
        state = self._state
        if state.clock.now() - self._refused_at < RESET_AGAIN_S:
            return
        state.events.emit("machine_reset", reason=reason)
        try:
            await state.machine.reset(reason)
        except ResetRefused as error:
            self._refused_at = state.clock.now()
            state.events.emit("machine_reset_refused", reason=reason, error=str(error))


class CoordinationLoop:
    """Writes what this server may decide, and starts the effects that belong to it."""

    def __init__(
        self, state: AgentState, start_effects: Callable[[Sequence[Effect]], None]
    ) -> None:
        self._state, self._start_effects = state, start_effects
        self._wake = state.new_wake()

    async def run(self) -> None:
        while True:
            self._wake.clear()
            snapshot = self._state.snapshot()
            if snapshot is None:
                await wait_for(self._state, self._wake, LOOK_AGAIN_S)
                continue
            decision = decide(snapshot)
            self._start_effects(decision.effects)
            if decision.own_writes or decision.writes or decision.take_coordinator:
                if await self._write(snapshot, decision):
                    continue
                await self._state.clock.sleep(self._state.jitter(0.05))
                continue
            until = LOOK_AGAIN_S
            if decision.wake_at is not None:
                until = min(until, max(0.0, decision.wake_at - self._state.clock.now()))
            await wait_for(self._state, self._wake, until)

    async def _write(self, snapshot: Snapshot, decision: Decision) -> bool:
        """True if everything was stored; else the caller pauses before it decides again."""
        ok = True
        transactions: list[tuple[Transaction, tuple[Reason, ...], tuple[Effect, ...]]] = [
            (self._own(snapshot, write), _reasons((write,)), ()) for write in decision.own_writes
        ]
        if decision.writes or decision.take_coordinator:
            reasons = decision.reasons + _reasons(decision.writes)
            shared = self._shared(snapshot, decision)
            transactions.append((shared, reasons, decision.after_commit))
        for transaction, reasons, after in transactions:
            try:
                result = await self._commit(transaction, reasons)
            except Indeterminate as error:
                self._state.events.emit("store_write_unknown", error=str(error))
                # A server that is never switched on again is worse than one asked twice: if this
                # was stored, nobody else will do what belongs to it.
                self._start_effects(after)
                await self._state.mirror.reread()
                result = None
            if result is None or not result.succeeded:
                ok = False
                continue
            self._start_effects(after)
        return ok

    def _own(self, snapshot: Snapshot, write: Write) -> Transaction:
        compares = (Unchanged(write.key, write.expected), *_depends(write))
        operation = self._operation(snapshot, write)
        return Transaction(compares, (operation,), _guard((operation,)))

    def _shared(self, snapshot: Snapshot, decision: Decision) -> Transaction:
        """All writes at once, bound to the coordinator key and to the fence slot as we know it:
        a server that is being fenced, or was deposed, decides nothing."""
        keys, slot, holder = self._state.keys, snapshot.fence_slot, snapshot.coordinator
        life = snapshot.store_life
        compares: dict[str, int] = {
            keys.coordinator: holder.mod_revision if holder else 0,
            keys.fence_slot: slot.mod_revision if slot else 0,
            keys.store_life: life.mod_revision if life else 0,
        }
        own = snapshot.own_session
        compares[keys.session(snapshot.me)] = own.mod_revision if own else 0
        operations: list[Put | Delete] = []
        if decision.take_coordinator and own is not None:
            record = Coordinator(
                schema=OLDEST_SCHEMA,
                nonce=self._state.nonce(),
                server=snapshot.me,
                incarnation=own.incarnation,
            )
            operations.append(Put(keys.coordinator, record.to_bytes(), own.lease))
        for write in decision.writes:
            compares[write.key] = write.expected
            compares.update({c.key: c.mod_revision for c in _depends(write)})
            operations.append(self._operation(snapshot, write))
        unchanged = tuple(Unchanged(key, revision) for key, revision in sorted(compares.items()))
        return Transaction(unchanged, tuple(operations), _guard(operations))

    def _operation(self, snapshot: Snapshot, write: Write) -> Put | Delete:
        if write.record is None:
            return Delete(write.key)
        # Never the nonce of the record that this one was made from: another coordinator makes the
        # same bytes of it, and its write would be taken for ours, with all that belongs to ours.
        schema = common_schema(snapshot)
        record = write.record.model_copy(
            update={"nonce": self._state.nonce(), "schema_number": schema}
        )
        return Put(write.key, record.to_bytes())

    async def _commit(
        self, transaction: Transaction, reasons: Sequence[Reason]
    ) -> CommitResult | None:
        """What became of it; None if it surely failed. Raises `Indeterminate`."""
        state = self._state
        try:
            result = await state.store.commit(transaction, timeout_s=COMMIT_TIMEOUT_S)
        except Indeterminate:
            raise
        except StoreError as error:
            state.events.emit("store_write_failed", error=str(error))
            return None
        if not result.succeeded:
            # The found values are newer than our mirror: take them over before deciding again.
            for key, item in result.found.items():
                state.mirror.put(key, item, result.revision)
            return result
        for operation in transaction.operations:
            value = operation.value if isinstance(operation, Put) else None
            state.mirror.apply_own(operation.key, value, result.revision)
        for reason in reasons:
            state.events.emit(reason.name, **dict(reason.fields))
        state.wake()
        return result


async def wait_for(state: AgentState, event: asyncio.Event, seconds: float) -> None:
    """Until the event is set; when the time (of the port's clock) is over, this sets it."""
    if event.is_set():
        return
    forget = state.clock.after(seconds, event.set)
    try:
        await event.wait()
    finally:
        forget()


def _depends(write: Write) -> tuple[Unchanged, ...]:
    return tuple(Unchanged(key, revision) for key, revision in write.depends)


def _guard(operations: Sequence[Put | Delete]) -> str | None:
    """Any put carries a nonce; a transaction of deletes only is tried once."""
    return next((op.key for op in operations if isinstance(op, Put)), None)


def _reasons(writes: Sequence[Write]) -> tuple[Reason, ...]:
    return tuple(write.reason for write in writes if write.reason is not None)
