"""Time alone moves a group only when its owner's own clockwork must have ended it."""

import pytest

from reconciler.decide.actions import Want
from reconciler.decide.expiry import longest_deadlines, must_hold, wait_s
from reconciler.decide.leases import may_activate
from reconciler.decide.records import OperationKind, OperationPhase, Ownership, Phase, Proof
from specs.timing_rules import CLOCK_DRIFT, RESET_S
from tests.decide.build import KEYS, Scene, boot, written

PROOFS = ["released", "fenced", "expired", "confirmed"]
D, W = 6.0, 3.0
WAIT = ((D + W) * (1 + CLOCK_DRIFT) + RESET_S) / (1 - CLOCK_DRIFT)


def scene(proofs: list[str] = PROOFS, **own: object) -> Scene:
    """n2 owned `web` under `stop` with an armed watchdog, and nobody can fence it."""
    made = Scene().server("n2", levels=0)
    made.group("web", onStoreLoss="stop", proofs=proofs)
    terms: dict[str, object] = {"on_store_loss": "stop", "dead_man_s": D, "watchdog_s": W}
    return made.own("n2", epoch=4, **{**terms, **own})


def dead(made: Scene, for_s: float) -> Scene:
    """n2 fell silent, its session ended, and so much time has passed since."""
    made.no_session("n2").at(for_s).silence("n2", since=for_s)
    return made


def takeover(made: Scene) -> Ownership | None:
    record = written(made.decide(), KEYS.group("web"))
    assert record is None or isinstance(record, Ownership)
    return record


def test_the_group_moves_once_its_owner_must_have_been_ended() -> None:
    new = takeover(dead(scene(), WAIT + 0.1))
    assert new is not None
    assert (new.proof, new.epoch, new.owner != "n2") == (Proof.EXPIRED, 5, True)


def test_not_a_moment_earlier_and_people_are_told_how_long() -> None:
    decision = dead(scene(), WAIT - 1.0).decide()
    assert written(decision, KEYS.group("web")) is None
    verdict = written(decision, KEYS.verdict("web"))
    assert verdict.phase is Phase.STARTING
    assert "1 s at most" in verdict.reasons[0]
    assert decision.wake_at is not None


def test_the_takeover_compares_that_no_session_came_back() -> None:
    decision = dead(scene(), WAIT + 0.1).decide()
    write = next(w for w in decision.writes if w.key == KEYS.group("web"))
    assert (KEYS.session("n2"), 0) in write.depends


@pytest.mark.parametrize(
    "changed",
    [
        {"on_store_loss": "keep"},
        {"watchdog_s": 0.0},
        {"dead_man_s": 0.0},
    ],
)
def test_an_owner_without_the_clockwork_never_expires(changed: dict[str, object]) -> None:
    assert takeover(dead(scene(**changed), 1000.0)) is None


def test_a_group_that_does_not_list_the_proof_waits_for_another() -> None:
    made = dead(scene(proofs=["released", "fenced", "confirmed"]), 1000.0)
    assert takeover(made) is None
    assert written(made.decide(), KEYS.verdict("web")).phase is Phase.BLOCKED


def test_an_owner_that_also_keeps_a_group_never_expires() -> None:
    made = scene().group("db").own("n2", "db", epoch=2)
    assert takeover(dead(made, 1000.0)) is None


def test_a_session_that_came_back_voids_the_proof() -> None:
    made = dead(scene(), WAIT + 5.0)
    made.session("n2", boot_id=boot("n2", 2))
    assert takeover(made) is None


@pytest.mark.parametrize("proof", ["expired", "none"])
def test_a_session_that_cannot_be_read_is_none_that_has_ended(proof: str) -> None:
    made = scene(proofs=["released", "fenced", proof])
    if proof == "expired":
        dead(made, 1000.0)
    else:
        made.no_session("n2").at(1.0).silence("n2").challenge("n2")
    assert takeover(made) is not None
    made.unreadable.add(KEYS.session("n2"))
    assert takeover(made) is None, "its write would fail, with everything else that is decided"


def test_no_proof_at_all_is_enough_only_for_who_is_silent_everywhere() -> None:
    made = scene(proofs=["released", "fenced", "none"])
    made.no_session("n2").at(1.0)
    made.operation(OperationKind.FENCE, "server/n2", phase=OperationPhase.RUNNING)
    assert takeover(made.silence("n2").challenge("n2")) is not None
    assert takeover(made.suspect("n2")) is None


def test_an_agent_that_may_have_missed_a_session_counts_from_its_own_listing() -> None:
    made = dead(scene(), WAIT + 5.0)
    made.absent_since.clear()
    made.complete_since = made.now - WAIT + 1.0
    assert takeover(made) is None
    made.complete_since = made.now - WAIT - 0.1
    assert takeover(made) is not None
    made.complete_since = None
    assert takeover(made) is None


def test_a_grant_writes_down_what_the_session_promises() -> None:
    made = Scene().group("web", servers=["n2"], onStoreLoss="stop", proofs=PROOFS)
    made.session("n2", watchdog_s=W, dead_man_s=D)
    new = takeover(made)
    assert new is not None
    assert (new.owner, new.dead_man_s, new.watchdog_s) == ("n2", D, W)
    made.session("n2")  # no watchdog: this grant never expires
    bare = takeover(made)
    assert bare is not None
    assert wait_s(bare) is None


def test_longer_deadlines_are_written_down_before_they_are_taken() -> None:
    made = scene()
    made.session("n2", watchdog_s=5.0, dead_man_s=8.0)
    grown = takeover(made)
    assert grown is not None
    assert (grown.owner, grown.epoch, grown.dead_man_s, grown.watchdog_s) == ("n2", 4, 8.0, 5.0)
    shorter = scene()
    shorter.session("n2", watchdog_s=1.0, dead_man_s=2.0)
    assert takeover(shorter) is None


@pytest.mark.parametrize(
    ("pulse", "refused"),
    [
        ({"watchdog_s": W, "dead_man_s": D, "holds": True}, False),
        ({"watchdog_s": 1.0, "dead_man_s": 2.0, "holds": True}, False),
        ({"watchdog_s": 0.0, "dead_man_s": D, "holds": True}, True),
        ({"watchdog_s": W + 1, "dead_man_s": D, "holds": True}, True),
        ({"watchdog_s": W, "dead_man_s": D + 1, "holds": True}, True),
        ({"watchdog_s": W, "dead_man_s": D, "holds": False}, True),
    ],
)
def test_nothing_starts_under_longer_deadlines_than_promised(
    pulse: dict[str, float], refused: bool
) -> None:
    made = Scene(me="n2").group("web", onStoreLoss="stop", proofs=PROOFS)
    made.own("n2", on_store_loss="stop", dead_man_s=D, watchdog_s=W)
    made.pulse.update(pulse)
    assert (may_activate(made.snapshot(), "web", 1) is not None) is refused
    assert longest_deadlines(made.snapshot()) == (D, W)


def test_an_owner_without_the_store_stops_in_order_at_half_of_its_deadline() -> None:
    made = Scene(me="n2").group("web", onStoreLoss="stop")
    made.own("n2", on_store_loss="stop").local("web", Phase.ONLINE)
    made.proof_at = made.now - D / 2 + 0.1
    assert made.decide().local["web"].want is Want.RUN
    made.proof_at = made.now - D / 2 - 0.1
    assert made.decide().local["web"].want is Want.STOP


def test_a_restarted_agent_stops_nothing_while_it_makes_its_session() -> None:
    made = Scene(me="n2").own("n2", on_store_loss="stop").local("web", Phase.ONLINE)
    made.no_session("n2")
    made.proof_at = made.now - D * 0.75 + 0.1
    assert made.decide().local["web"].want is Want.RUN
    made.proof_at -= 0.2
    assert made.decide().local["web"].want is Want.STOP


def test_a_kept_group_runs_on_without_the_store() -> None:
    made = Scene(me="n2").own("n2").local("web", Phase.ONLINE)
    made.proof_at = made.now - 1000.0
    assert made.decide().local["web"].want is Want.RUN


def deserted() -> Scene:
    made = Scene().group("web", onStoreLoss="stop").own("n2", on_store_loss="stop")
    return made.no_session("n2")


def test_an_owner_that_is_heard_but_lost_its_session_is_fenced_under_stop() -> None:
    made = deserted()
    assert written(made.decide(), KEYS.fence_slot) is None, "it may be about to have the next one"
    made.absent_since["n2"] = made.now - 1.1
    decision = made.decide()
    intent = written(decision, KEYS.fence_slot)
    assert intent is not None
    assert (intent.victim, "session has ended" in intent.reason) == ("n2", True)
    write = next(w for w in decision.writes if w.key == KEYS.fence_slot)
    assert (KEYS.session("n2"), 0) in write.depends, "a session made meanwhile saves it"


def test_agents_that_were_restarted_together_do_not_fence_each_other() -> None:
    made = deserted()
    del made.absent_since["n2"]  # it ended before this agent began
    made.complete_since = made.now - 9.0
    assert written(made.decide(), KEYS.fence_slot) is None
    made.complete_since = made.now - 10.1
    assert written(made.decide(), KEYS.fence_slot) is not None


def test_it_is_left_alone_under_keep_or_when_it_is_a_new_boot() -> None:
    kept = Scene().own("n2").no_session("n2")
    kept.absent_since["n2"] = kept.now - 100.0
    assert written(kept.decide(), KEYS.fence_slot) is None
    made = Scene().group("web", onStoreLoss="stop").own("n2", on_store_loss="stop")
    made.no_session("n2").hear("n2", boot_id=boot("n2", 2))
    made.absent_since["n2"] = made.now - 100.0
    assert written(made.decide(), KEYS.fence_slot) is None


def test_an_owner_that_is_heard_but_hears_nobody_is_fenced_under_keep() -> None:
    """Its packets arrive, none reach it: it stops what it runs, and could never say so."""
    made = Scene().own("n2").no_session("n2").hear("n2", sees=("n1",))
    made.absent_since["n2"] = made.now - 1.1
    assert written(made.decide(), KEYS.fence_slot) is None, "it hears n3, so it runs on"
    made.hear("n2", sees=("n1", "n3"))
    intent = written(made.decide(), KEYS.fence_slot)
    assert intent is not None
    assert (intent.victim, "session has ended" in intent.reason) == ("n2", True)
    made.session("n2")
    assert written(made.decide(), KEYS.fence_slot) is None, "it has the store"


def test_the_pulse_is_told_while_something_may_run_that_time_alone_ends() -> None:
    made = Scene(me="n2").group("web", onStoreLoss="stop", proofs=PROOFS)
    made.own("n2", on_store_loss="stop", dead_man_s=D, watchdog_s=W)
    assert must_hold(made.snapshot())
    made.no_session("n2")
    assert not must_hold(made.snapshot())
    made.local("web", Phase.STOPPING)
    assert must_hold(made.snapshot())
    assert not must_hold(Scene(me="n2").own("n2").local("web", Phase.ONLINE).snapshot())


def test_a_group_that_asks_for_no_proof_is_taken_over_only_when_nothing_else_can_be_had() -> None:
    made = Scene().server("n2", levels=0).group("web", proofs=["released", "fenced", "none"])
    made.own("n2", epoch=4).silence("n2")
    assert takeover(made) is None  # its session lives
    made.no_session("n2").at(1.0)
    new = takeover(made.silence("n2").challenge("n2"))
    assert new is not None
    assert (new.proof, new.owner != "n2") == (Proof.NONE, True)
    heard = Scene().server("n2", levels=0).group("web", proofs=["released", "fenced", "none"])
    assert takeover(heard.own("n2", epoch=4).no_session("n2")) is None
