"""A consent to make a file system is good once, and for the owner of the group only."""

import pytest

from reconciler.decide.records import Ownership, Release
from reconciler.loops.consents import StoreConsents
from reconciler.ports.disks import ConsentRefused, NoConsents
from reconciler.ports.store import CommitResult, Transaction
from tests.decide.build import KEYS, boot
from tests.loops.test_act import World

EPOCH = 7


def _owned(world: World, server: str, epoch: int = EPOCH) -> None:
    record = Ownership(group="web", epoch=epoch, owner=server, boot_id=boot(server), nonce="x")
    world.put(KEYS.group("web"), record.to_bytes())


async def test_a_consent_is_used_up() -> None:
    world = World()
    _owned(world, "n1")
    consents = StoreConsents(world.agent("n1"))
    await consents.use("data", "web", EPOCH, "first")
    with pytest.raises(ConsentRefused, match="was used before, by n1"):
        await consents.use("data", "web", EPOCH, "first")
    await consents.use("data", "web", EPOCH, "second")
    with pytest.raises(ConsentRefused, match="was used before"):
        await consents.use("data", "web", EPOCH, "first")
    await consents.use("other", "web", EPOCH, "first")


async def test_only_the_owner_at_this_epoch_uses_it() -> None:
    world = World()
    _owned(world, "n2")
    consents = StoreConsents(world.agent("n1"))
    with pytest.raises(ConsentRefused, match="is over"):
        await consents.use("data", "web", EPOCH, "first")
    _owned(world, "n1", EPOCH + 1)
    with pytest.raises(ConsentRefused, match="is over"):
        await consents.use("data", "web", EPOCH, "first")
    _owned(world, "n1")
    release = Release(group="web", epoch=EPOCH, server="n1", boot_id=boot("n1"))
    world.put(KEYS.release("web"), release.to_bytes())
    with pytest.raises(ConsentRefused, match="is over"):
        await consents.use("data", "web", EPOCH, "first")
    assert world.memory.get(KEYS.consent("data")) is None


@pytest.mark.parametrize("what", ["group", "release"])
async def test_what_it_rests_on_is_compared_where_it_is_written(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group is given away, or up, between the look and the transaction."""
    world = World()
    _owned(world, "n1")
    agent = world.agent("n1")
    commit = agent.store.commit

    async def late(transaction: Transaction, *, timeout_s: float = 2.0) -> CommitResult:
        if what == "group":
            _owned(world, "n2", EPOCH + 1)
        else:
            release = Release(group="web", epoch=EPOCH, server="n1", boot_id=boot("n1"))
            world.put(KEYS.release("web"), release.to_bytes())
        return await commit(transaction, timeout_s=timeout_s)

    monkeypatch.setattr(agent.store, "commit", late)
    with pytest.raises(ConsentRefused, match="at the same time"):
        await StoreConsents(agent).use("data", "web", EPOCH, "first")
    assert world.memory.get(KEYS.consent("data")) is None


async def test_without_a_store_nothing_is_formatted() -> None:
    with pytest.raises(ConsentRefused):
        await NoConsents().use("data", "web", EPOCH, "first")
