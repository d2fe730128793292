"""The store's lead stays off servers that own groups, and nothing moves while anything is wrong."""

from dataclasses import replace

from reconciler.decide.actions import MoveStoreLeader
from reconciler.decide.decide import decide
from reconciler.decide.snapshot import Snapshot, StoreMember
from reconciler.decide.store_leader import better_leader
from tests.decide.build import Scene


def led_by(scene: Scene, leader: str, *, silent: str | None = None) -> Snapshot:
    """The scene one minute later, with fresh answers of every member but the silent one."""
    snapshot = scene.snapshot()
    now = snapshot.now + 60
    members = tuple(
        StoreMember(name, None if name == silent else now, name == leader)
        for name in ("n1", "n2", "n3")
    )
    own = snapshot.own_session
    kept = replace(own, valid_until=now + 9) if own else None
    return replace(snapshot, now=now, store_members=members, own_session=kept)


def test_the_lead_leaves_an_owner_for_a_server_without_groups() -> None:
    snapshot = led_by(Scene().own("n1"), "n1")
    assert better_leader(snapshot) == "n2"
    assert MoveStoreLeader("n2") in decide(snapshot).effects


def test_a_leader_without_groups_stays() -> None:
    assert better_leader(led_by(Scene().own("n1"), "n3")) is None


def test_nothing_moves_while_a_member_does_not_answer() -> None:
    assert better_leader(led_by(Scene().own("n1"), "n1", silent="n2")) is None


def test_nothing_moves_while_a_server_is_in_doubt() -> None:
    scene = Scene().own("n1").silence("n3")
    assert better_leader(led_by(scene, "n1")) is None


def test_nothing_moves_right_after_a_group_did() -> None:
    snapshot = led_by(Scene().own("n1"), "n1")
    moved = {
        name: replace(stored, seen_at=snapshot.now - 1)
        for name, stored in snapshot.ownerships.items()
    }
    assert better_leader(replace(snapshot, ownerships=moved)) is None
