"""`run/mirrors/<resource>` in the store (`ports.mirrors.MirrorRecords`): who has all acknowledged
data of a mirror. Each commit compares this server's ownership in the same transaction."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from reconciler.decide.records import MirrorRecord, Ownership, Record, Release
from reconciler.loops.state import AgentState
from reconciler.mirror.decide.promotion import Current
from reconciler.ports.mirrors import RecordLost, RecordUnavailable
from reconciler.ports.store import Put, StoreError, Transaction, Unchanged

COMMIT_TIMEOUT_S = 1.0
_R = TypeVar("_R", bound=Record)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a commit compares; `at` are the revisions of the three keys."""

    at: tuple[int, ...]
    ownership: Ownership | None
    release: Release | None
    record: MirrorRecord | None


class StoreMirrorRecords:
    """Nothing is refused, and nothing taken for done, by what only the agent's copy says: that may
    be late."""

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
        # What is known is enough in most cases, and two ways to the store shorter: writes wait for
        # this. The transaction compares it; what is late is read anew.
        known = self._known(resource, group)
        with suppress(RecordLost):
            new = self._wanted(known, epoch, change)
            if _current(known.record) != new and await self._put(resource, group, known, new):
                return new
        found = await self._found(resource, group)
        new = self._wanted(found, epoch, change)
        if _current(found.record) != new and not await self._put(resource, group, found, new):
            raise RecordUnavailable("somebody else wrote at the same time")
        return new

    def _wanted(
        self, seen: "_Seen", epoch: int, change: Callable[[Current | None], Current | None]
    ) -> Current:
        """Raises `RecordLost` when this server may not write it."""
        state, ownership, release = self._state, seen.ownership, seen.release
        if (
            ownership is None
            or (ownership.owner, ownership.epoch) != (state.me, epoch)
            or ownership.boot_id != state.boot_id
            or (release is not None and release.epoch >= epoch)
        ):
            owner = ownership.owner if ownership is not None else None
            raise RecordLost(f"epoch {epoch} is over: {owner or 'nobody'} owns the group")
        new = change(_current(seen.record))
        if new is None:
            raise RecordLost("the mirror's record says otherwise")
        return new

    async def _put(self, resource: str, group: str, seen: "_Seen", new: Current) -> bool:
        """Whether nothing of what was seen changed meanwhile, so that it is written."""
        state, keys = self._state, self._state.keys
        value = MirrorRecord(
            nonce=state.nonce(),
            resource=resource,
            servers=new.servers,
            generation=new.generation,
            epoch=new.epoch,
            at_wall=state.clock.wall(),
            **_forced(seen.record, new),
        )
        names = (keys.group(group), keys.release(group), keys.mirror(resource))
        compares = tuple(Unchanged(key, at) for key, at in zip(names, seen.at, strict=True))
        put = Put(keys.mirror(resource), value.to_bytes())
        transaction = Transaction(compares, (put,), guard=put.key)
        try:
            result = await state.store.commit(transaction, timeout_s=COMMIT_TIMEOUT_S)
        except StoreError as error:
            raise RecordUnavailable(str(error)) from error
        if result.succeeded:
            state.events.emit(
                "mirror_record_changed",
                group=group,
                resource=resource,
                epoch=new.epoch,
                servers=list(new.servers),
                generation=new.generation,
            )
        return result.succeeded

    def _known(self, resource: str, group: str) -> "_Seen":
        """As far as this agent heard."""
        maps = self._state.mirror.maps
        owned, released = maps["groups"].get(group), maps["releases"].get(group)
        stored = maps["mirrors"].get(resource)
        at = tuple(one.mod_revision if one is not None else 0 for one in (owned, released, stored))
        return _Seen(
            at,
            owned.record if owned is not None else None,
            released.record if released is not None else None,
            stored.record if stored is not None else None,
        )

    async def _found(self, resource: str, group: str) -> "_Seen":
        """As the store says."""
        keys = self._state.keys
        (owned_at, owned), (released_at, released), (stored_at, stored) = await asyncio.gather(
            self._get(keys.group(group), Ownership),
            self._get(keys.release(group), Release),
            self._get(keys.mirror(resource), MirrorRecord),
        )
        return _Seen((owned_at, released_at, stored_at), owned, released, stored)

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
