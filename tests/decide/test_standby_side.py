"""One server of each server group has the disk of it: the owner, or that of the derived group."""

from typing import Any

import pytest

from reconciler.decide.actions import Decision
from reconciler.decide.placement import Placing, candidates
from reconciler.decide.records import OperationKind, OperationPhase, Ownership, Phase
from tests.decide.build import KEYS, Scene, boot, granted, written

SITES = {"a": ("n1", "n2"), "b": ("n3", "n4")}
MAIN, DERIVED = "web", "web-standby"


def hybrid(**group: Any) -> Scene:
    scene = Scene(servers=("n1", "n2", "n3", "n4"))
    for name, servers in SITES.items():
        scene.server_group(name, *servers)
    return scene.group(MAIN, serverGroups=["a", "b"], **group).mirrored(
        between="server-groups", hybrid=True
    )


def owner(scene: Scene, group: str) -> str | None:
    stored = scene.tables["ownerships"].get(group)
    return stored.record.owner if stored else None


def record(scene: Scene, group: str) -> Ownership:
    found: Ownership = scene.tables["ownerships"][group].record
    return found


def running(main: str = "n1", derived: str = "n3") -> Scene:
    scene = hybrid().own(main, MAIN, 2).own(derived, DERIVED, 3)
    return scene.status(main, 2, MAIN).status(derived, 3, DERIVED)


def reasons(scene: Scene, group: str) -> dict[str, str]:
    found = candidates(scene.snapshot(), group, Placing())
    return {c.server: c.reason for c in found if not c.eligible}


def disks(scene: Scene) -> dict[str, set[str]]:
    """Who may touch the disk of each server group: owners that are not proven stopped."""
    found: dict[str, set[str]] = {name: set() for name in SITES}
    for group in (MAIN, DERIVED):
        server = owner(scene, group)
        for site, servers in SITES.items():
            if server in servers:
                found[site].add(server)
    return found


def test_the_first_start_gives_each_server_group_one_current_server() -> None:
    scene = hybrid()
    scene.settle()
    assert (owner(scene, MAIN), owner(scene, DERIVED)) == ("n1", "n3")
    epochs = record(scene, MAIN).epoch, record(scene, DERIVED).epoch
    assert epochs[0] % 2 == 0
    assert epochs[1] % 2 == 1


def test_nothing_follows_a_group_that_never_ran() -> None:
    scene = hybrid(startup="manual")
    scene.settle()
    assert owner(scene, DERIVED) is None
    assert set(reasons(scene, DERIVED).values()) == {"group web has never run"}


def test_without_hybrid_disks_nothing_is_derived_and_epochs_count_by_one() -> None:
    scene = Scene().own("n1").fenced("n1")
    snapshot = scene.snapshot()
    assert not snapshot.specs.pairings
    assert set(snapshot.specs.groups) == {"web"}
    new = granted(scene.lead("n2") and Scene("n2").own("n1").fenced("n1").lead("n2").decide())
    assert new is not None
    assert new.epoch == 2


def test_a_failover_within_the_server_group_keeps_the_other_side() -> None:
    scene = running().no_session("n1").silence("n1").fenced("n1")
    scene.me, scene.own_session = "n2", None
    scene.peers.pop("n2")
    scene.session("n2").hear("n1").silence("n1").lead("n2")
    scene.settle()
    assert (owner(scene, MAIN), owner(scene, DERIVED)) == ("n2", "n3")
    assert record(scene, DERIVED).epoch == 3
    assert record(scene, MAIN).epoch == 4


def test_the_standby_role_moves_within_its_server_group_only_with_a_proof() -> None:
    scene = running().no_session("n3").silence("n3")
    scene.settle()
    assert owner(scene, DERIVED) == "n3"
    scene.fenced("n3").settle()
    assert (owner(scene, MAIN), owner(scene, DERIVED)) == ("n1", "n4")
    assert record(scene, DERIVED).epoch == 5


def test_a_failover_between_server_groups_goes_to_the_current_server() -> None:
    scene = from_n4(running())
    assert reasons(scene, MAIN)["n4"] == "n3 is the current server of server group b"
    lost(scene, "n1", "n2")
    settle_rounds(scene)
    assert (owner(scene, MAIN), owner(scene, DERIVED)) == ("n3", "n3")
    # It follows until the disk serves there; then the role is free for the other side.
    scene.status("n3", record(scene, MAIN).epoch, MAIN)
    asked = granted(scene.decide(), DERIVED)
    assert asked is not None
    assert asked.releasing
    assert asked.owner == "n3"
    scene.store(scene.decide()).release("n3", DERIVED, 3)
    settle_rounds(scene)
    assert owner(scene, DERIVED) == "n3"  # released, and nobody of the other side is there
    back(scene, "n2")
    settle_rounds(scene)
    assert (owner(scene, MAIN), owner(scene, DERIVED)) == ("n3", "n2")
    assert record(scene, DERIVED).epoch > record(scene, MAIN).epoch


def test_when_the_current_server_is_lost_too_the_other_one_gets_both_roles() -> None:
    scene = from_n4(running())
    lost(scene, "n1", "n2", "n3")
    settle_rounds(scene)
    assert owner(scene, MAIN) == "n4"
    assert owner(scene, DERIVED) in ("n3", "n4")  # n3 is proven off
    assert record(scene, MAIN).epoch % 2 == 0


def test_a_silent_current_server_keeps_the_disk_until_it_is_proven_off() -> None:
    scene = from_n4(running())
    lost(scene, "n1", "n2")
    scene.no_session("n3").silence("n3")
    settle_rounds(scene)
    assert owner(scene, MAIN) == "n1"
    scene.fenced("n3")
    settle_rounds(scene)
    assert owner(scene, MAIN) == "n4"


def test_what_follows_gives_up_also_when_the_serving_group_failed_there() -> None:
    scene = from_n4(running("n3", "n3")).own("n3", MAIN, 4).status("n3", 4, MAIN, Phase.STARTING)
    lost(scene, "n1", "n2")
    assert granted(scene.decide(), DERIVED) is None
    scene.release("n3", MAIN, 4, "failed: it broke")
    settle_rounds(scene)
    assert owner(scene, MAIN) == "n3"
    assert record(scene, DERIVED).releasing
    scene.release("n3", DERIVED, 3)
    settle_rounds(scene)
    assert owner(scene, MAIN) == "n4"


def test_an_operator_moves_the_role() -> None:
    scene = running()
    scene.operation(OperationKind.MOVE, f"group/{DERIVED}", to="n4")
    settle_rounds(scene)
    assert record(scene, DERIVED).releasing
    scene.release("n3", DERIVED, 3)
    settle_rounds(scene)
    assert owner(scene, DERIVED) == "n4"


def test_an_operator_is_told_who_has_the_disk() -> None:
    scene = running()
    scene.operation(OperationKind.MOVE, f"group/{MAIN}", to="n4")
    ended = written(scene.settle() and scene.decide(), KEYS.operation("01"))
    ended = ended or scene.tables["operations"]["01"].record
    assert ended.phase is OperationPhase.FAILED
    assert "n3 is the current server of server group b" in ended.result


@pytest.mark.parametrize("group", [MAIN, DERIVED])
def test_a_record_of_the_other_one_that_cannot_be_read_is_not_absent(group: str) -> None:
    scene = running()
    other = DERIVED if group == MAIN else MAIN
    del scene.tables["ownerships"][other]
    scene.unreadable.add(KEYS.group(other))
    assert all("cannot be read" in text for text in reasons(scene, group).values())
    assert len(reasons(scene, group)) == 4


def test_a_grant_rests_on_the_other_record_as_it_was() -> None:
    scene = running().fenced("n3").no_session("n3").silence("n3")
    decision: Decision = scene.decide()
    write = next(w for w in decision.writes if w.key == KEYS.group(DERIVED))
    stored = scene.tables["ownerships"][MAIN]
    assert (KEYS.group(MAIN), stored.mod_revision) in write.depends


def from_n4(scene: Scene) -> Scene:
    """n4 looks and decides."""
    scene.me = "n4"
    scene.peers.pop("n4")
    scene.hear("n1").session("n4")
    return scene.lead("n4")


def lost(scene: Scene, *servers: str) -> None:
    for name in servers:
        scene.no_session(name).fenced(name)
    for name in servers:
        scene.silence(name)
    scene.members_answer(*(s for s in scene.servers if s not in servers))


def back(scene: Scene, server: str) -> None:
    scene.session(server, boot_id=boot(server, 2)).hear(server, boot_id=boot(server, 2))


def settle_rounds(scene: Scene, rounds: int = 8) -> None:
    """As `settle`, and the invariant after each: one server at most has the disk of each group,
    but for those proven stopped."""
    for _ in range(rounds):
        decision = scene.decide()
        if not decision.writes and not decision.own_writes:
            return
        before = disks(scene)
        scene.store(decision)
        for site, holders in disks(scene).items():
            unproven = {
                server
                for server in holders
                if server not in scene.tables["fences"] and not _released(scene, server)
            }
            assert len(unproven) <= 1, (site, before, holders)
    raise AssertionError(f"never settles: {decision.writes}")


def _released(scene: Scene, server: str) -> bool:
    for group in (MAIN, DERIVED):
        own, release = scene.tables["ownerships"].get(group), scene.tables["releases"].get(group)
        if own is not None and own.record.owner == server:
            gone = release is not None and release.record.epoch == own.record.epoch
            if not gone:
                return False
    return True


def test_the_record_says_what_it_was_derived_for_as_long_as_it_is() -> None:
    scene = hybrid()
    scene.settle()
    assert record(scene, DERIVED).follows == MAIN
    assert record(scene, MAIN).follows == ""
    del scene.resources["data"]
    scene.settle()
    scene.release("n3", DERIVED, record(scene, DERIVED).epoch)
    scene.settle()
    assert owner(scene, DERIVED) is None
    assert record(scene, DERIVED).follows == ""


def test_while_nobody_serves_an_operator_may_look_at_either_side() -> None:
    scene = running().own(None, MAIN, 2, previous_owner="n1", wanted="offline", cause="stopped")
    assert "n1" in reasons(scene, DERIVED)
    scene.operation(OperationKind.MOVE, f"group/{DERIVED}", to="n1")
    settle_rounds(scene)
    scene.release("n3", DERIVED, 3)
    settle_rounds(scene)
    assert owner(scene, DERIVED) == "n1"
    scene.status("n1", record(scene, DERIVED).epoch, DERIVED)
    settle_rounds(scene)
    assert owner(scene, DERIVED) == "n1"
    assert reasons(scene, MAIN) == {"n2": "n1 is the current server of server group a"}
