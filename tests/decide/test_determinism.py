"""Properties of the whole decision, on drawn clusters: order, idempotence, one grant, proofs."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.decide.actions import Decision
from reconciler.decide.decide import WRITES_PER_DECISION, decide, decide_locally
from reconciler.decide.membership import Role, role
from reconciler.decide.proofs import proof_of_stop
from reconciler.decide.records import (
    FenceOutcome,
    FenceRecord,
    OperationKind,
    OperationPhase,
    Ownership,
    Phase,
    Wanted,
)
from reconciler.decide.snapshot import LocalFence, Snapshot, Stored
from tests.decide.build import KEYS, Scene, boot

SERVERS = ("n1", "n2", "n3", "n4")
GROUPS = ("web", "db", "app")
CASES = settings(max_examples=100, deadline=None, derandomize=True, print_blob=True)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """A cluster in any state that the records can express, likely or not."""
    scene = Scene(me="n1", servers=SERVERS)
    for name in SERVERS[1:]:
        _draw_server(draw, scene, name)
    scene.lead(draw(st.sampled_from(("n1", "n1", "n2", None))))
    if draw(st.booleans()):
        scene.slot(draw(st.sampled_from(SERVERS[1:])), age=draw(st.sampled_from((0.1, 11, 20))))
        if draw(st.booleans()):
            outcome = draw(st.sampled_from(list(FenceOutcome)))
            scene.local_fences["intent"] = LocalFence(outcome, "drawn")
    for group in GROUPS:
        _draw_group(draw, scene, group)
    if draw(st.booleans()):
        states = ("healthy", "faulty", "parked", "offline")
        found = {name: draw(st.sampled_from(states)) for name in SERVERS}
        scene.monitor("watch", f"group/{draw(st.sampled_from(GROUPS))}", **found)
    for number in range(draw(st.integers(0, 3))):
        _draw_operation(draw, scene, f"{number:02d}")
    return scene


def _draw_server(draw: st.DrawFn, scene: Scene, name: str) -> None:
    scene.server(name, levels=draw(st.sampled_from((0, 1, 2))))
    if draw(st.booleans()):
        scene.challenge(name, age=draw(st.sampled_from((0.05, 0.5, 9.0))))
    if draw(st.booleans()):
        outcome = draw(st.sampled_from(list(FenceOutcome)))
        covers = draw(st.sampled_from(((boot(name),), (boot(name, 0),), ())))
        due = draw(st.booleans()) and outcome is FenceOutcome.CONFIRMED_OFF
        age = draw(st.sampled_from((0.0, 30.0)))
        scene.fenced(name, outcome, covers, age=age, power_on_due=due)
    match draw(st.sampled_from(("heard", "heard", "rebooted", "suspect", "silent", "unsure"))):
        case "rebooted":
            scene.hear(name, boot_id=boot(name, 2))
            if draw(st.booleans()):
                scene.session(name, boot(name, 2))
        case "suspect":
            scene.suspect(name)
        case "silent":
            scene.silence(name)
        case "unsure":
            scene.silence(name, agreed=False)
    if draw(st.integers(0, 3)) == 0:
        scene.no_session(name)


def _draw_group(draw: st.DrawFn, scene: Scene, group: str) -> None:
    spec: dict[str, Any] = {
        "servers": draw(st.permutations(SERVERS))[: draw(st.integers(1, 4))],
        "failback": draw(st.sampled_from(("manual", "auto"))),
        "startup": draw(st.sampled_from(("auto", "manual"))),
        "exclusion": draw(st.sampled_from(("none", "prefer", "require"))),
        "failover": {
            "mode": draw(st.sampled_from(("auto", "dynamic", "manual"))),
            "choice": draw(st.sampled_from(("stable", "priority"))),
            "maxFailures": draw(st.integers(1, 3)),
        },
    }
    scene.group(group, **spec)
    scene.resource(f"{group}-ip", group, "10.0.0.100")
    for _ in range(draw(st.integers(0, 2))):
        scene.failed(draw(st.sampled_from(SERVERS)), group, epoch=draw(st.integers(1, 6)))
    owner = draw(st.sampled_from((None, "none", *SERVERS)))
    if owner is None:
        return
    real = None if owner == "none" else owner
    number = draw(st.sampled_from((1, 1, 0)))
    scene.own(
        real,
        group,
        epoch=7,
        boot_id=boot(real, number) if real else "",
        releasing=draw(st.booleans()) if real else False,
        wanted=draw(st.sampled_from((Wanted.ONLINE, Wanted.OFFLINE))),
    )
    if real and draw(st.booleans()):
        cause = draw(st.sampled_from(("moved", "failed: it broke", "the server was restarted")))
        scene.release(real, group, epoch=draw(st.sampled_from((6, 7))), cause=cause)
    if real and draw(st.booleans()):
        scene.status(real, epoch=7, group=group)
    if draw(st.booleans()):
        scene.local(group, draw(st.sampled_from(list(Phase))), epoch=draw(st.sampled_from((6, 7))))
        scene.dropped[group] = draw(st.sampled_from((0, 6, 7)))


def _draw_operation(draw: st.DrawFn, scene: Scene, identifier: str) -> None:
    kind = draw(st.sampled_from(list(OperationKind)))
    group, server = draw(st.sampled_from(GROUPS)), draw(st.sampled_from(SERVERS))
    of_server = kind in (OperationKind.FENCE, OperationKind.CONFIRM_FENCE)
    scene.operation(
        kind,
        f"server/{server}" if of_server else f"group/{group}",
        id=identifier,
        to=draw(st.sampled_from((None, *SERVERS))),
        boot_id=boot(server),
        phase=draw(st.sampled_from((OperationPhase.PENDING, OperationPhase.RUNNING))),
    )


MAPPINGS = (
    "sessions",
    "ownerships",
    "releases",
    "fences",
    "challenges",
    "answers",
    "operations",
    "verdicts",
    "group_status",
    "monitor_status",
    "local_groups",
    "dropped_epochs",
)


def turned(snapshot: Snapshot) -> Snapshot:
    """The same with every mapping the other way round."""
    changes: dict[str, Any] = {
        name: dict(reversed(list(getattr(snapshot, name).items()))) for name in MAPPINGS
    }
    specs = replace(
        snapshot.specs,
        servers=dict(reversed(list(snapshot.specs.servers.items()))),
        groups=dict(reversed(list(snapshot.specs.groups.items()))),
        resources=dict(reversed(list(snapshot.specs.resources.items()))),
    )
    peers = replace(snapshot.peers, peers=dict(reversed(list(snapshot.peers.peers.items()))))
    return replace(snapshot, specs=specs, peers=peers, **changes)


def ownerships(decision: Decision) -> dict[str, Ownership]:
    return {w.record.group: w.record for w in decision.writes if isinstance(w.record, Ownership)}


@CASES
@given(scenes())
def test_equal_snapshots_give_equal_decisions_byte_for_byte(scene: Scene) -> None:
    assert repr(scene.decide()) == repr(scene.decide())


@CASES
@given(scenes())
def test_the_order_of_mappings_means_nothing(scene: Scene) -> None:
    snapshot = scene.snapshot()
    assert repr(decide(snapshot)) == repr(decide(turned(snapshot)))


@CASES
@given(scenes())
def test_a_server_that_no_group_lists_and_that_is_not_here_changes_no_ownership(
    scene: Scene,
) -> None:
    scene.cluster["startupBarrier"] = "0s"
    before = ownerships(scene.decide())
    scene.server("n9")
    assert ownerships(scene.decide()) == before


@CASES
@given(scenes())
def test_no_key_is_written_twice_and_all_writes_fit_into_one_transaction(scene: Scene) -> None:
    decision = scene.decide()
    keys = [write.key for write in decision.writes]
    assert len(keys) == len(set(keys))
    assert len(keys) <= WRITES_PER_DECISION
    own = [write.key for write in decision.own_writes]
    assert len(own) == len(set(own))


@CASES
@given(scenes())
def test_every_grant_is_the_next_epoch_and_has_a_proof(scene: Scene) -> None:
    snapshot = scene.snapshot()
    decision = decide(snapshot)
    fences = {
        w.record.server: Stored(w.record, w.expected, snapshot.now)
        for w in decision.writes
        if isinstance(w.record, FenceRecord)
    }
    proven = replace(snapshot, fences={**snapshot.fences, **fences})
    for group, new in ownerships(decision).items():
        stored = snapshot.ownerships.get(group)
        old = stored.record if stored else Ownership(group=group, epoch=0)
        if new.owner is not None and (new.owner, new.epoch) != (old.owner, old.epoch):
            assert new.epoch == old.epoch + 1
            assert new.owner in snapshot.specs.groups[group].spec.servers  # type: ignore[operator]
        else:
            assert new.epoch == old.epoch
        if old.owner is not None and (new.owner, new.epoch) != (old.owner, old.epoch):
            proof = proof_of_stop(proven, old)
            assert proof is not None
            assert new.proof == proof
            assert proof.value in snapshot.specs.groups[group].spec.proofs


@CASES
@given(scenes())
def test_no_grant_puts_two_groups_that_exclude_each_other_on_one_server(scene: Scene) -> None:
    snapshot = scene.snapshot()
    new = ownerships(decide(snapshot))
    owners = {name: stored.record.owner for name, stored in snapshot.ownerships.items()}
    owners |= {name: record.owner for name, record in new.items()}
    for name, record in new.items():
        stored = snapshot.ownerships.get(name)
        granted = stored is None or record.epoch != stored.record.epoch
        if not granted or snapshot.specs.groups[name].spec.exclusion != "require":
            continue
        for other, server in owners.items():
            if other != name and snapshot.specs.groups[other].spec.exclusion == "require":
                assert server != record.owner, (name, other)


@CASES
@given(scenes())
def test_every_grant_tells_of_each_listed_server_why_it_was_or_was_not_chosen(
    scene: Scene,
) -> None:
    snapshot = scene.snapshot()
    for name, record in ownerships(decide(snapshot)).items():
        stored = snapshot.ownerships.get(name)
        if record.owner is None or (stored and stored.record.epoch == record.epoch):
            continue
        listed = snapshot.specs.groups[name].spec.servers
        assert sorted(c.server for c in record.candidates) == sorted(listed or ())
        assert all(c.reason for c in record.candidates)
        assert record.decided_by == snapshot.me


@CASES
@given(scenes())
def test_who_has_no_role_writes_nothing_that_is_shared(scene: Scene) -> None:
    snapshot = scene.snapshot()
    if role(snapshot) is Role.NONE:
        decision = decide(snapshot)
        assert not decision.writes
        assert not decision.take_coordinator


@CASES
@given(scenes())
def test_deciding_again_on_what_was_stored_moves_nothing_twice(scene: Scene) -> None:
    """At most a few rounds (an operation starts, moves, ends); then the same state stays quiet."""
    for _ in range(6):
        decision = scene.decide()
        if not decision.writes and not decision.own_writes and not decision.take_coordinator:
            return
        scene.store(decision)
    raise AssertionError(f"still writes {[w.key for w in decision.writes + decision.own_writes]}")


@CASES
@given(scenes())
def test_a_group_is_granted_at_most_once_without_something_new(scene: Scene) -> None:
    granted: dict[str, int] = {}
    for _ in range(6):
        decision = scene.decide()
        for group, new in ownerships(decision).items():
            stored = scene.tables["ownerships"].get(group)
            if new.owner is not None and (stored is None or new.epoch != stored.record.epoch):
                granted[group] = granted.get(group, 0) + 1
        scene.store(decision)
    # Once from its last proof; n1's own release in between may be another proof.
    assert all(count <= 2 for count in granted.values())


@pytest.mark.parametrize("groups", [1, 8, 30])
def test_many_groups_take_several_decisions_and_all_get_their_owner(groups: int) -> None:
    scene = Scene()
    scene.groups.clear()
    for number in range(groups):
        scene.group(f"g{number:02d}")
    scene.settle(rounds=4)
    assert len(scene.tables["ownerships"]) == groups
    assert KEYS.group("g00") not in [w.key for w in scene.decide().writes]


@CASES
@given(scenes())
def test_the_local_part_alone_is_the_same_as_in_the_whole(scene: Scene) -> None:
    whole, part = decide(scene.snapshot()), decide_locally(scene.snapshot())
    assert part.local == whole.local
    assert set(part.effects) <= set(whole.effects)
    assert not part.own_writes
    assert not part.writes
