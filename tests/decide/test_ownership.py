"""Who may run a group: never without a proof, never twice at one epoch."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.decide.records import FenceOutcome, OperationKind, Phase, Wanted
from tests.decide.build import KEYS, Scene, boot, granted, intent, verdict, written


def confirmed(scene: Scene) -> Scene:
    return scene.silence("n3").fenced("n3", FenceOutcome.CONFIRMED_BY_PERSON)


PROOFS = {
    "released": lambda: Scene().own("n3", epoch=7).release("n3", epoch=7),
    "fenced": lambda: Scene().own("n3", epoch=7).silence("n3").fenced("n3"),
    "confirmed": lambda: confirmed(Scene().own("n3", epoch=7)),
}


@pytest.mark.parametrize("proof", sorted(PROOFS))
def test_each_proof_moves_the_group_at_the_next_epoch(proof: str) -> None:
    new = granted(PROOFS[proof]().decide())
    assert new is not None
    assert (new.owner, new.epoch, new.proof, new.previous_owner) == ("n1", 8, proof, "n3")
    assert (new.boot_id, new.incarnation) == (boot("n1"), "n1-agent-1")


@pytest.mark.parametrize("proof", sorted(PROOFS))
def test_a_proof_that_the_group_forbids_blocks_it_loudly(proof: str) -> None:
    allowed = [name for name in PROOFS if name != proof]
    decision = PROOFS[proof]().group("web", proofs=allowed).decide()
    assert granted(decision) is None
    assert verdict(decision).phase is Phase.BLOCKED  # type: ignore[union-attr]
    assert "forbids this proof" in verdict(decision).reasons[0]  # type: ignore[union-attr]


NO_PROOF = {
    "silent": lambda: Scene().own("n3").silence("n3"),
    "silent and without session": lambda: Scene().own("n3").no_session("n3").silence("n3"),
    "fence failed": lambda: Scene().own("n3").silence("n3").fenced("n3", FenceOutcome.FAILED),
    "fence contradicted": lambda: (
        Scene().own("n3").silence("n3").fenced("n3", FenceOutcome.CONTRADICTED)
    ),
    "another boot fenced": lambda: (
        Scene().own("n3").silence("n3").fenced("n3", covers=(boot("n3", 0),))
    ),
    "another server fenced": lambda: Scene().own("n3").silence("n3").fenced("n2"),
    "older epoch released": lambda: Scene().own("n3", epoch=7).silence("n3").release("n3", epoch=6),
    "another server's release": lambda: Scene().own("n3").silence("n3").release("n2"),
    "asked to release": lambda: Scene().own("n3", releasing=True).silence("n3"),
    "a new boot is here": lambda: (
        Scene().own("n3").session("n3", boot("n3", 2)).hear("n3", boot_id=boot("n3", 2))
    ),
}


@pytest.mark.parametrize("case", sorted(NO_PROOF))
def test_without_a_proof_nothing_moves(case: str) -> None:
    assert granted(NO_PROOF[case]().decide()) is None


def test_a_takeover_compares_everything_it_was_based_on() -> None:
    scene = Scene().own("n3").silence("n3").fenced("n3").release("n3", epoch=0)
    write = next(w for w in scene.decide().writes if w.key == KEYS.group("web"))
    tables = scene.tables
    assert write.expected == tables["ownerships"]["web"].mod_revision
    assert dict(write.depends) == {
        KEYS.release("web"): tables["releases"]["web"].mod_revision,
        KEYS.fence("n3"): tables["fences"]["n3"].mod_revision,
        KEYS.session("n1"): tables["sessions"]["n1"].mod_revision,
    }


def test_the_policy_in_force_is_the_one_of_the_grant() -> None:
    new = granted(Scene().decide())
    assert new is not None
    assert new.on_store_loss == "keep"


def test_a_group_without_an_eligible_server_is_blocked_with_every_reason() -> None:
    scene = Scene().group("web", servers=["n2", "n3"]).own("n3", epoch=7).release("n3", epoch=7)
    scene.silence("n2").silence("n3")
    decision = scene.decide()
    assert granted(decision) is None
    told = verdict(decision)
    assert told is not None
    assert told.phase is Phase.BLOCKED
    assert {c.server: c.reason for c in told.candidates} == {
        "n2": "it is silent",
        "n3": "it is silent",
    }


# -- start, failover, failback ---------------------------------------------------------------


def test_a_group_starts_by_itself_on_its_first_server() -> None:
    new = granted(Scene().group("web", servers=["n2", "n1"]).decide())
    assert new is not None
    assert (new.owner, new.epoch, new.proof) == ("n2", 1, "never-owned")


def test_manual_startup_waits_for_an_operator() -> None:
    scene = Scene().group("web", startup="manual")
    decision = scene.decide()
    assert granted(decision) is None
    assert verdict(decision).next_command == "clusterctl start group/web"  # type: ignore[union-attr]
    assert granted(scene.operation(OperationKind.START, "group/web").decide()) is not None


def test_manual_failover_parks_the_group_after_a_proof() -> None:
    scene = Scene().group("web", failover={"mode": "manual"}).own("n3", epoch=7)
    new = granted(scene.silence("n3").fenced("n3").decide())
    assert new is not None
    assert (new.owner, new.epoch, new.wanted) == (None, 7, Wanted.OFFLINE)
    assert new.cause == "n3 was fenced; failover is manual"


def test_manual_failover_is_no_bar_to_an_operator() -> None:
    scene = Scene().group("web", failover={"mode": "manual"}).own(None, epoch=7)
    scene.operation(OperationKind.START, "group/web")
    assert granted(scene.decide()).owner == "n1"  # type: ignore[union-attr]


def failback(session_age: float, **spec: Any) -> Scene:
    scene = Scene().group("web", servers=["n1", "n2"], failback="auto", **spec).own("n2")
    return scene.session("n1", age=session_age)


def test_automatic_failback_waits_until_the_better_server_has_stayed_a_while() -> None:
    early = failback(session_age=9).decide()
    assert granted(early) is None
    assert early.wake_at is not None
    asked = granted(failback(session_age=11).decide())
    assert asked is not None
    assert (asked.owner, asked.releasing, asked.cause) == ("n2", True, "failback to n1")


def test_no_failback_by_default_nor_to_where_it_failed() -> None:
    scene = Scene().group("web", servers=["n1", "n2"]).own("n2")
    assert granted(scene.decide()) is None
    assert granted(failback(session_age=11).failed("n1").decide()) is None


def test_a_server_that_left_the_list_gives_the_group_up_if_another_can_take_it() -> None:
    scene = Scene().group("web", servers=["n1"]).own("n2")
    assert granted(scene.decide()).releasing  # type: ignore[union-attr]
    scene = Scene().group("web", servers=["n3"]).own("n2").silence("n3")
    assert granted(scene.decide()) is None


# -- the barrier -----------------------------------------------------------------------------


def cold() -> Scene:
    """n3 is missing, n1 has been coordinator for 100 s, the barrier takes 200 s."""
    scene = Scene().no_session("n3").silence("n3")
    scene.cluster["startupBarrier"] = "200s"
    return scene


def test_at_a_cold_start_nothing_starts_until_every_server_is_here() -> None:
    decision = cold().decide()
    assert granted(decision) is None
    assert verdict(decision).reasons == ("startup barrier: waiting for n3",)  # type: ignore[union-attr]
    assert decision.wake_at is not None
    assert granted(cold().session("n3").hear("n3").decide()) is not None


def test_the_barrier_ends_by_itself() -> None:
    assert granted(cold().at(101).decide()) is not None


def test_the_barrier_counts_anew_for_a_new_coordinator() -> None:
    assert granted(cold().lead(None).at(101).decide()) is None


def test_an_operator_can_bypass_the_barrier() -> None:
    scene = cold().operation(OperationKind.BYPASS_BARRIER, "cluster")
    assert granted(scene.decide()) is not None


def test_a_cluster_that_runs_something_is_past_the_barrier() -> None:
    assert granted(cold().group("db").own("n1", "db").decide()) is not None


def test_after_a_power_loss_released_groups_wait_for_the_barrier() -> None:
    scene = cold().own("n1", epoch=7, boot_id=boot("n1", 0))
    scene.release("n1", epoch=7, cause="the server was restarted")
    assert granted(scene.decide()) is None


def test_a_session_from_before_a_power_loss_does_not_pass_the_barrier() -> None:
    """etcd comes back with all leases prolonged: who was never heard since is not here yet."""
    scene = cold().session("n3", boot_id=boot("n3", 0)).never_heard("n3")
    scene.challenge("n3").members_answer("n2", "n3").own("n1", epoch=7, boot_id=boot("n1", 0))
    scene.release("n1", epoch=7, cause="the server was restarted")
    decision = scene.decide()
    assert granted(decision) is None
    assert intent(decision) is None, "it may still be booting"


# -- failures --------------------------------------------------------------------------------


def failing(known: int, **spec: Any) -> Scene:
    """web failed `known` times before, and now again at epoch 7 on n3."""
    scene = Scene().group("web", failover={"maxFailures": 3}, **spec).own("n3", epoch=7)
    for epoch in range(7 - known, 7):
        scene.failed("n3", epoch=epoch)
    return scene.release("n3", epoch=7, cause="failed: web-ip: no route")


def test_a_failed_group_goes_elsewhere_and_its_failure_is_remembered() -> None:
    decision = failing(0).decide()
    assert granted(decision).owner == "n1"  # type: ignore[union-attr]
    failures = verdict(decision).failures  # type: ignore[union-attr]
    assert [(f.server, f.epoch, f.reason) for f in failures] == [("n3", 7, "web-ip: no route")]


def test_a_failure_counts_once() -> None:
    scene = failing(0)
    scene.store(scene.decide())
    assert len(scene.tables["verdicts"]["web"].record.failures) == 1
    scene.store(scene.decide())
    assert len(scene.tables["verdicts"]["web"].record.failures) == 1


def test_after_max_failures_the_group_is_parked_failed() -> None:
    assert granted(failing(1).decide()).owner == "n1"  # type: ignore[union-attr]
    scene = failing(2)
    decision = scene.decide()
    new = granted(decision)
    assert new is not None
    assert (new.owner, new.epoch, new.wanted) == (None, 7, Wanted.ONLINE)
    assert new.cause == "failed 3 times, last on n3: web-ip: no route"
    told = verdict(decision)
    assert told is not None
    assert (told.phase, told.next_command) == (Phase.FAILED, "clusterctl clear group/web")
    scene.store(decision)
    assert granted(scene.decide()) is None


def test_the_final_action_stop_group_makes_it_offline() -> None:
    new = granted(failing(2, finalAction="stop-group").decide())
    assert new is not None
    assert new.wanted is Wanted.OFFLINE


def test_clear_forgets_the_failures_and_starts_again() -> None:
    scene = failing(2)
    scene.store(scene.decide())
    scene.operation(OperationKind.CLEAR, "group/web")
    assert granted(scene.decide()) is not None


def test_failures_that_are_old_enough_do_not_park() -> None:
    scene = failing(2)
    scene.at(3600)
    scene.own("n3", epoch=7).release("n3", epoch=7, cause="failed: web-ip: no route")
    assert granted(scene.decide()).owner == "n1"  # type: ignore[union-attr]


def test_a_fenced_owner_is_no_failure_of_the_group() -> None:
    decision = Scene().own("n3").silence("n3").fenced("n3").decide()
    assert verdict(decision) is None


# -- the end of a group ----------------------------------------------------------------------


def test_a_deleted_group_is_given_up_by_its_owner_and_keeps_its_epoch() -> None:
    scene = Scene().own("n3", epoch=7)
    scene.groups.clear()
    asked = granted(scene.decide())
    assert asked is not None
    assert (asked.owner, asked.releasing, asked.epoch) == ("n3", True, 7)
    scene.store(scene.decide())
    assert granted(scene.decide()) is None
    ended = granted(scene.release("n3", epoch=7).decide())
    assert ended is not None
    assert (ended.owner, ended.epoch) == (None, 7)
    scene.store(scene.decide())
    assert not scene.decide().writes


# -- what is said ----------------------------------------------------------------------------


def test_an_owner_without_session_that_is_heard_runs_on_with_a_remark() -> None:
    decision = Scene().own("n3").status("n3", 1).no_session("n3").decide()
    assert granted(decision) is None
    assert "runs on there" in verdict(decision).reasons[0]  # type: ignore[union-attr]


def test_an_owner_that_lost_the_store_before_it_said_that_it_started_blocks_its_group() -> None:
    """Nobody may run it; only a fence proves that nobody does."""
    decision = Scene().own("n3").no_session("n3").decide()
    assert granted(decision) is None
    said = verdict(decision)
    assert said is not None
    assert said.phase is Phase.BLOCKED
    assert "never said that it has started" in said.reasons[0]
    assert said.next_command == "clusterctl fence n3"


def test_a_blocked_group_names_the_next_command() -> None:
    scene = Scene().server("n3", levels=0).own("n3").silence("n3").challenge("n3")
    told = verdict(scene.decide())
    assert told is not None
    assert told.phase is Phase.BLOCKED
    assert told.next_command == "clusterctl fence confirm n3"


def test_a_verdict_is_written_only_when_it_changes_and_removed_when_it_is_over() -> None:
    scene = Scene().server("n3", levels=0).own("n3").silence("n3").challenge("n3")
    scene.store(scene.decide())
    assert verdict(scene.decide()) is None
    scene.hear("n3")
    removed = [w for w in scene.decide().writes if w.key == KEYS.verdict("web")]
    assert [w.record for w in removed] == [None]


def test_every_change_of_ownership_has_its_reason() -> None:
    for scene in (Scene(), PROOFS["fenced"](), failing(2)):
        write = next(w for w in scene.decide().writes if w.key == KEYS.group("web"))
        assert write.reason is not None
        assert written(scene.decide(), KEYS.group("web")).cause


def test_a_group_that_waits_for_a_fence_is_not_written_again_and_again() -> None:
    scene = Scene().own("n3").failed("n2").silence("n3").challenge("n3", age=0.01)
    scene.tables["verdicts"]["web"] = replace(
        scene.tables["verdicts"]["web"],
        record=scene.tables["verdicts"]["web"].record.model_copy(update={"nonce": "stored"}),
    )
    assert written(scene.decide(), KEYS.verdict("web")) is None


def test_a_deleted_group_that_is_applied_again_begins_like_a_new_one() -> None:
    scene = Scene().own(None, epoch=4, wanted=Wanted.OFFLINE, cause="stopped by an operator")
    scene.groups.pop("web")
    scene.settle()
    scene.group("web")
    grant = written(scene.decide(), KEYS.group("web"))
    assert (grant.owner, grant.epoch) == ("n1", 5)


def test_a_failed_group_that_was_deleted_begins_without_its_failures() -> None:
    scene = Scene().own(None, epoch=4, previous_owner="n1", cause="the group was deleted")
    scene.group("web", failover={"maxFailures": 1}).release("n1", epoch=4, cause="failed: no disk")
    grant = written(scene.decide(), KEYS.group("web"))
    assert grant is not None
    assert grant.epoch == 5


def test_nothing_is_placed_on_a_server_whose_own_pulse_is_dead() -> None:
    scene = Scene()
    scene.pulse["pulse_alive"] = False
    grant = written(scene.decide(), KEYS.group("web"))
    assert grant is None or grant.owner != "n1"
