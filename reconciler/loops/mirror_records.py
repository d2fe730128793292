"""`run/mirrors/<resource>` in the store (`ports.mirrors.MirrorRecords`): who has all acknowledged
data of a mirror. Each commit compares this server's ownership in the same transaction."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import ValidationError

from reconciler.decide.records import MirrorRecord, Ownership, Record, Release
from reconciler.loops.state import AgentState
from reconciler.mirror.decide.promotion import Current
from reconciler.ports.mirrors import RecordLost, RecordUnavailable
from reconciler.ports.store import Put, StoreError, Transaction, Unchanged

COMMIT_TIMEOUT_S = 1.0
_R = TypeVar("_R", bound=Record)


class StoreMirrorRecords:
    """Reads what it compares right before it commits: the agent's copy may be late."""

    def __init__(self, state: AgentState) -> None:
        self._state = state

    async def read(self, resource: str) -> Current | None:
        _, record = await self._get(self._state.keys.mirror(resource), MirrorRecord)
        return _current(record)

    async def commit(
        self,
        resource: str,
        group: str,
        epoch: int,
        change: Callable[[Current | None], Current | None],
    ) -> Current:
        state, keys = self._state, self._state.keys
        owned, released, stored = await asyncio.gather(
            self._get(keys.group(group), Ownership),
            self._get(keys.release(group), Release),
            self._get(keys.mirror(resource), MirrorRecord),
        )
        (owned_at, ownership), (released_at, release), (stored_at, record) = owned, released, stored
        if (
            ownership is None
            or (ownership.owner, ownership.epoch) != (state.me, epoch)
            or ownership.boot_id != state.boot_id
            or (release is not None and release.epoch >= epoch)
        ):
            owner = ownership.owner if ownership is not None else None
            raise RecordLost(f"epoch {epoch} is over: {owner or 'nobody'} owns the group")
        new = change(_current(record))
        if new is None:
            raise RecordLost("the mirror's record says otherwise")
        if record is not None and _current(record) == new:
            return new
        value = MirrorRecord(
            nonce=state.nonce(),
            resource=resource,
            servers=new.servers,
            generation=new.generation,
            epoch=new.epoch,
            at_wall=state.clock.wall(),
            **_forced(record, new),
        )
        compares = (
            Unchanged(keys.group(group), owned_at),
            Unchanged(keys.release(group), released_at),
            Unchanged(keys.mirror(resource), stored_at),
        )
        put = Put(keys.mirror(resource), value.to_bytes())
        transaction = Transaction(compares, (put,), guard=put.key)
        try:
            result = await state.store.commit(transaction, timeout_s=COMMIT_TIMEOUT_S)
        except StoreError as error:
            raise RecordUnavailable(str(error)) from error
        if not result.succeeded:
            raise RecordUnavailable("somebody else wrote at the same time")
        state.events.emit(
            "mirror_record_changed",
            group=group,
            resource=resource,
            epoch=epoch,
            servers=list(new.servers),
            generation=new.generation,
        )
        return new

    async def _get(self, key: str, model: type[_R]) -> tuple[int, _R | None]:
        """(revision, record) of one key; (0, None) when it is not there."""
        try:
            found = await self._state.store.get(key, timeout_s=COMMIT_TIMEOUT_S)
            return (found.mod_revision, model.from_bytes(found.value)) if found else (0, None)
        except StoreError as error:
            raise RecordUnavailable(str(error)) from error
        except ValidationError as error:
            raise RecordUnavailable(f"{key} cannot be read: {error.error_count()} errors") from None


def _current(record: MirrorRecord | None) -> Current | None:
    if record is None:
        return None
    return Current(record.servers, record.generation, record.epoch)


def _forced(record: MirrorRecord | None, new: Current) -> dict[str, Any]:
    """That an operator gave data up is told until both sides are current again."""
    if record is None or len(new.servers) > 1:
        return {}
    names = ("forced_by", "forced_why", "forced_wall", "given_up")
    return {name: getattr(record, name) for name in names}
