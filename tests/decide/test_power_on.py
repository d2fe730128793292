"""A fenced server is switched on again out of what is stored, a few times, and never against a
person's will."""

from dataclasses import replace
from itertools import pairwise

import pytest

from reconciler.decide.actions import PowerOn
from reconciler.decide.decide import WRITES_PER_DECISION
from reconciler.decide.power_on import FIRST_PAUSE_S, MOST_TRIES
from reconciler.decide.records import (
    FenceOutcome,
    FenceRecord,
    OperationKind,
    OperationPhase,
)
from reconciler.decide.snapshot import LocalFence
from tests.decide.build import KEYS, Scene, boot, written

FENCED_AT = 1_699_999_990.0
COMMAND = PowerOn("n3", FENCED_AT)


def due(**more: object) -> Scene:
    values = {"power_on_due": True, "at_wall": FENCED_AT, **more}
    return Scene().no_session("n3").silence("n3").fenced("n3", **values)


def later(scene: Scene, seconds: float) -> None:
    own = scene.own_session
    assert own is not None
    scene.now += seconds
    scene.proof_at = scene.now
    scene.own_session = replace(own, valid_until=scene.now + 10.0)


def record(scene: Scene) -> FenceRecord:
    found = scene.snapshot().fences["n3"].record
    assert isinstance(found, FenceRecord)
    return found


def test_each_try_is_counted_before_it_is_made() -> None:
    scene = due()
    decision = scene.decide()
    assert decision.after_commit == (COMMAND,)
    scene.store(decision)
    assert (record(scene).power_on_due, record(scene).power_on_tries) == (True, 1)
    assert scene.decide().after_commit == ()


def test_a_coordinator_that_died_after_its_write_costs_nothing() -> None:
    def successor(age: float) -> Scene:
        scene = Scene(me="n2").lead("n2").hear("n1").no_session("n3").silence("n3")
        return scene.fenced("n3", power_on_due=True, power_on_tries=1, at_wall=FENCED_AT, age=age)

    early = successor(age=1.0).decide()
    assert early.after_commit == ()
    assert early.wake_at is not None
    assert successor(age=FIRST_PAUSE_S + 1).decide().after_commit == (COMMAND,)


def test_once_a_device_says_so_it_is_done_for_good() -> None:
    scene = due()
    scene.store(scene.decide())
    scene.local_power_ons["n3"] = FENCED_AT
    decision = scene.decide()
    told = [w.reason.name for w in decision.writes if w.reason and w.key == KEYS.fence("n3")]
    assert told == ["server_powered_on"]
    scene.store(decision)
    later(scene, 1000.0)
    assert scene.decide().after_commit == ()


def test_the_device_of_an_earlier_fence_said_nothing_of_this_one() -> None:
    scene = due()
    scene.local_power_ons["n3"] = FENCED_AT - 60
    assert scene.decide().after_commit == (COMMAND,)


def test_the_tries_have_pauses_and_an_end_that_is_told() -> None:
    scene, times, told = due(), [], []
    for _ in range(1000):
        decision = scene.decide()
        told += [w.reason.name for w in decision.writes if w.reason and w.key == KEYS.fence("n3")]
        times += [scene.now] if COMMAND in decision.after_commit else []
        later(scene.store(decision), 1.0)
    pauses = [b - a for a, b in pairwise(times)]
    assert len(times) == MOST_TRIES
    assert pauses == sorted(pauses)
    assert pauses[0] >= FIRST_PAUSE_S
    assert told == ["server_stays_off"]
    assert not record(scene).power_on_due


@pytest.mark.parametrize("how", ["session", "heartbeat"])
def test_a_server_that_is_back_by_itself_is_left_alone(how: str) -> None:
    scene = due()
    if how == "session":
        scene.session("n3", boot("n3", 2))
    scene.hear("n3", boot_id=boot("n3", 2))
    decision = scene.decide()
    assert decision.after_commit == ()
    assert not record(scene.store(decision)).power_on_due


def test_a_heartbeat_of_the_fenced_boot_is_no_return() -> None:
    assert due().hear("n3").decide().after_commit == (COMMAND,)


@pytest.mark.parametrize("after", ["on", "stay-off"])
def test_what_an_operator_had_fenced_is_left_off(after: str) -> None:
    scene = Scene().server("n3", after=after).silence("n3").own("n3")
    scene.slot("n3", reason="asked by an operator")
    scene.local_fences["intent"] = LocalFence(FenceOutcome.CONFIRMED_OFF, "it said so", "guid-n3")
    scene.store(scene.decide())
    assert not record(scene).power_on_due
    assert scene.decide().after_commit == ()


def test_an_operator_who_asks_for_a_fence_or_for_stay_off_meanwhile_is_obeyed() -> None:
    asked = due().operation(OperationKind.FENCE, "server/n3", phase=OperationPhase.RUNNING)
    for scene in (asked, due().server("n3", after="stay-off"), due().server("n3", levels=0)):
        decision = scene.decide()
        assert decision.after_commit == ()
        assert not written(decision, KEYS.fence("n3")).power_on_due


def test_nobody_but_the_coordinator_switches_on() -> None:
    scene = due()
    scene.me = "n2"
    scene.hear("n1")
    assert scene.decide().after_commit == ()


def test_a_full_decision_leaves_the_rest_for_the_next_one() -> None:
    scene = Scene(servers=("n1", "n2", "n3", "n4"))
    for name in ("n3", "n4"):
        scene.silence(name).fenced(name, power_on_due=True)
    for number in range(WRITES_PER_DECISION - 1):
        scene.group(f"g{number:02d}")
    switched: list[str] = []
    for _ in range(3):
        decision = scene.decide()
        assert len(decision.writes) <= WRITES_PER_DECISION
        switched += [e.server for e in decision.after_commit if isinstance(e, PowerOn)]
        scene.store(decision)
    assert sorted(switched) == ["n3", "n4"]
