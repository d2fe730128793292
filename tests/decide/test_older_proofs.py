"""A fence that fails takes away nothing that earlier ones have proven."""

from reconciler.decide.membership import proven_off
from reconciler.decide.proofs import proof_of_stop
from reconciler.decide.records import FenceOutcome, OperationKind, OperationPhase, Proof
from reconciler.decide.snapshot import LocalFence, LocalProbe
from tests.decide.build import KEYS, Scene, boot, written

OLD, NEW = boot("n3", 1), boot("n3", 2)


def fenced_again(outcome: FenceOutcome, **intent: object) -> Scene:
    """n3's first boot is proven off, and its group had nowhere to go; its second one is fenced."""
    scene = Scene().own("n3", boot_id=OLD).group("web", servers=["n3"]).silence("n3")
    scene.session("n3", boot_id=NEW).fenced("n3", covers=(OLD,))
    scene.slot("n3", **{"covers": (OLD, NEW), **intent})
    scene.local_fences["intent"] = LocalFence(outcome, "it did not answer")
    return scene


def test_a_failed_fence_of_a_new_boot_keeps_the_proof_of_the_old_one() -> None:
    scene = fenced_again(FenceOutcome.FAILED)
    decision = scene.decide()
    record = written(decision, KEYS.fence("n3"))
    assert (record.outcome, record.earlier) == (FenceOutcome.FAILED, {OLD: "confirmed-off"})
    snapshot = scene.store(decision).snapshot()
    assert proven_off(snapshot, "n3", OLD)
    assert not proven_off(snapshot, "n3", NEW)
    ownership = snapshot.ownerships["web"].record
    assert proof_of_stop(snapshot, ownership) is Proof.FENCED


def test_who_proved_it_is_kept_through_any_number_of_failures() -> None:
    scene = fenced_again(FenceOutcome.FAILED)
    scene.fenced("n3", FenceOutcome.CONFIRMED_BY_PERSON, covers=(OLD,))
    scene.slot("n3", covers=(NEW,))
    for _ in range(2):
        scene.store(scene.decide())
        scene.slot("n3", covers=(NEW,))
    snapshot = scene.snapshot()
    assert proof_of_stop(snapshot, snapshot.ownerships["web"].record) is Proof.CONFIRMED


def test_a_fence_that_works_names_what_it_proves_itself_and_forgets_what_nobody_needs() -> None:
    decision = fenced_again(FenceOutcome.CONFIRMED_OFF).decide()
    record = written(decision, KEYS.fence("n3"))
    assert (record.covers, record.earlier) == ((OLD, NEW), {})
    only_new = fenced_again(FenceOutcome.CONFIRMED_OFF, covers=(NEW,))
    assert written(only_new.decide(), KEYS.fence("n3")).earlier == {OLD: "confirmed-off"}
    nobody = fenced_again(FenceOutcome.FAILED).own(None)
    assert written(nobody.decide(), KEYS.fence("n3")).earlier == {}


def test_an_abandoned_fence_of_a_new_boot_counts_as_a_try_and_keeps_the_old_proof() -> None:
    """Else the same server would be asked for the same try for ever."""
    scene = fenced_again(FenceOutcome.FAILED, executor="n2", age=20)
    record = written(scene.decide(), KEYS.fence("n3"))
    assert (record.outcome, record.attempt) == (FenceOutcome.FAILED, 1)
    assert record.earlier == {OLD: "confirmed-off"}


def test_a_persons_word_that_came_meanwhile_is_the_last_one() -> None:
    scene = fenced_again(FenceOutcome.FAILED)
    scene.fenced("n3", FenceOutcome.CONFIRMED_BY_PERSON, covers=(OLD, NEW))
    decision = scene.decide()
    assert written(decision, KEYS.fence("n3")) is None
    assert written(decision, KEYS.fence_slot).closed


def test_an_operators_fence_of_a_server_that_is_off_ends_when_its_device_is_dead() -> None:
    """Its failure was never stored, so it was asked again at once, for ever."""
    scene = Scene().silence("n3").no_session("n3").fenced("n3")
    scene.operation(OperationKind.FENCE, "server/n3", phase=OperationPhase.RUNNING)
    scene.slot("n3", covers=())
    scene.local_fences["intent"] = LocalFence(FenceOutcome.FAILED, "it did not answer")
    scene.store(scene.decide())
    operation = written(scene.decide(), KEYS.operation("01"))
    assert operation.phase is OperationPhase.FAILED


def test_a_person_who_confirms_the_new_boot_keeps_the_proof_of_the_old_one() -> None:
    scene = Scene().own("n3", boot_id=OLD).own("n3", "db", boot_id=NEW).group("db")
    scene.no_session("n3").silence("n3").fenced("n3", covers=(OLD,))
    scene.operation(OperationKind.CONFIRM_FENCE, "server/n3", boot_id=NEW)
    scene.local_probes["01"] = LocalProbe()
    record = written(scene.decide(), KEYS.fence("n3"))
    assert all(record.proof_for(one) for one in (OLD, NEW))
