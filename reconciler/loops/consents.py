"""`run/consents/<resource>` in the store (`ports.disks.Consents`): which consents to make a file
system were used up. Written by the group's owner, compared with its ownership."""

import asyncio
from typing import TypeVar

from pydantic import ValidationError

from reconciler.decide.consents import FormatConsents
from reconciler.decide.records import Ownership, Record, Release
from reconciler.loops.state import AgentState
from reconciler.ports.disks import ConsentRefused
from reconciler.ports.store import Put, StoreError, Transaction, Unchanged

COMMIT_TIMEOUT_S = 1.0
_R = TypeVar("_R", bound=Record)


class StoreConsents:
    """Reads what it compares right before it commits: the agent's copy may be late."""

    def __init__(self, state: AgentState) -> None:
        self._state = state

    async def use(self, resource: str, group: str, epoch: int, consent: str) -> None:
        state, keys = self._state, self._state.keys
        key = keys.consent(resource)
        owned, released, stored = await asyncio.gather(
            self._get(keys.group(group), Ownership),
            self._get(keys.release(group), Release),
            self._get(key, FormatConsents),
        )
        (owned_at, ownership), (released_at, release), (stored_at, record) = owned, released, stored
        if (
            ownership is None
            or (ownership.owner, ownership.epoch) != (state.me, epoch)
            or ownership.boot_id != state.boot_id
            or (release is not None and release.epoch >= epoch)
        ):
            raise ConsentRefused(f"epoch {epoch} of group {group} is over")
        used = record.used if record is not None else ()
        if consent in used:
            raise ConsentRefused(
                f"formatConsent {consent!r} was used before, by {record.server if record else ''}; "
                "another word allows it once more"
            )
        value = FormatConsents(
            nonce=state.nonce(),
            resource=resource,
            used=(*used, consent),
            server=state.me,
            epoch=epoch,
            at_wall=state.clock.wall(),
        )
        compares = (
            Unchanged(keys.group(group), owned_at),
            Unchanged(keys.release(group), released_at),
            Unchanged(key, stored_at),
        )
        transaction = Transaction(compares, (Put(key, value.to_bytes()),), guard=key)
        try:
            result = await state.store.commit(transaction, timeout_s=COMMIT_TIMEOUT_S)
        except StoreError as error:
            # It may have been used up by this; the next try says so, and needs a new word.
            raise ConsentRefused(f"the store does not take the consent: {error}") from error
        if not result.succeeded:
            raise ConsentRefused("somebody else wrote at the same time")

    async def _get(self, key: str, model: type[_R]) -> tuple[int, _R | None]:
        """(revision, record) of one key; (0, None) when it is not there."""
        try:
            found = await self._state.store.get(key, timeout_s=COMMIT_TIMEOUT_S)
            return (found.mod_revision, model.from_bytes(found.value)) if found else (0, None)
        except StoreError as error:
            raise ConsentRefused(f"the store does not answer: {error}") from error
        except ValidationError as error:
            raise ConsentRefused(f"{key} cannot be read: {error.error_count()} errors") from None
