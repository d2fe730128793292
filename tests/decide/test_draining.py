"""Drained servers: their groups leave in order, they take no others, and a shutdown is no crash."""

from reconciler.decide.fencing import matters
from reconciler.decide.records import Cordon, OperationKind, OperationPhase
from tests.decide.build import KEYS, Scene, boot, granted, result, verdict, written


def scene() -> Scene:
    return Scene(me="n2").group("web").lead("n2").own("n1")


def cordon(made: Scene, server: str = "n1", boot_id: str = "") -> Scene:
    return made.put("cordons", server, Cordon(server=server, boot_id=boot_id))


def test_a_wish_leaves_a_cordon_and_the_group_is_asked_to_leave() -> None:
    made = scene().operation(OperationKind.DRAIN, "server/n1")
    decision = made.decide()
    assert written(decision, KEYS.cordon("n1")).boot_id == ""
    made.store(decision)
    asked = granted(made.decide())
    assert asked is not None
    assert asked.releasing
    assert asked.cause == "drained: n1 is being drained"


def test_it_ends_when_nothing_is_owned_there() -> None:
    made = cordon(scene()).operation(OperationKind.DRAIN, "server/n1")
    made.store(made.decide())
    made.store(made.decide())
    assert result(made.decide()) is None
    made.release("n1")
    made.store(made.decide())
    assert made.tables["ownerships"]["web"].record.owner == "n2"
    ended = made.tables["operations"]["01"].record
    assert (ended.phase, ended.result) == (
        OperationPhase.DONE,
        "n1 runs no group and takes none",
    )


def test_a_drained_server_takes_no_group() -> None:
    made = cordon(Scene().group("web").lead("n1"))
    taken = granted(made.decide())
    assert taken is not None
    assert taken.owner == "n2"


def test_with_nowhere_to_go_the_group_stays_and_the_wish_says_so() -> None:
    made = Scene(me="n2").group("web", servers=["n1"]).lead("n2").own("n1")
    made = cordon(made).operation(OperationKind.DRAIN, "server/n1")
    decision = made.decide()
    told = verdict(decision)
    assert told is not None
    assert told.reasons == ("drained: no other server can run it",)
    made.store(decision)
    made.store(made.decide())
    ended = written(made.decide(), KEYS.operation("01")) or made.tables["operations"]["01"].record
    assert ended.phase is OperationPhase.FAILED
    assert "stays on n1" in ended.result


def test_before_a_shutdown_it_is_stopped_even_with_nowhere_to_go() -> None:
    made = Scene(me="n2").group("web", servers=["n1"]).lead("n2").own("n1")
    asked = granted(cordon(made, boot_id=boot("n1")).decide())
    assert asked is not None
    assert asked.releasing


def test_a_group_with_manual_failover_moves_when_its_server_is_drained() -> None:
    made = Scene(me="n2").group("web", failover={"mode": "manual"}).lead("n2").own("n1")
    made = cordon(made)
    made.store(made.decide())
    made.release("n1", cause="drained: n1 is being drained")
    taken = granted(made.decide())
    assert taken is not None
    assert taken.owner == "n2"


def test_a_server_that_is_shut_down_in_order_is_not_fenced() -> None:
    made = cordon(Scene(me="n2").lead("n2"), boot_id=boot("n1"))
    assert not matters(made.snapshot(), "n1")
    assert matters(cordon(Scene(me="n2").lead("n2")).snapshot(), "n1")  # drained, but it stays
    owner = cordon(Scene(me="n2").group("web").lead("n2").own("n1"), boot_id=boot("n1"))
    assert matters(owner.snapshot(), "n1")  # it went down without giving up its group


def test_a_cordon_for_one_boot_ends_with_the_next() -> None:
    made = cordon(Scene(me="n2").group("web").lead("n2"), boot_id=boot("n1", 0))
    decision = made.decide()
    assert KEYS.cordon("n1") in {w.key for w in decision.writes if w.record is None}
    taken = granted(decision)
    assert taken is not None
    assert taken.owner == "n1"


def test_undrain_takes_the_cordon_away_and_is_fine_without_one() -> None:
    made = cordon(scene()).operation(OperationKind.UNDRAIN, "server/n1")
    decision = made.decide()
    assert KEYS.cordon("n1") in {w.key for w in decision.writes if w.record is None}
    assert result(decision) == (OperationPhase.DONE, "n1 takes groups again")
    again = scene().operation(OperationKind.UNDRAIN, "server/n1")
    assert result(again.decide()) == (OperationPhase.DONE, "n1 was not drained")


def test_a_server_that_is_not_there_can_not_be_drained() -> None:
    made = scene().operation(OperationKind.DRAIN, "server/n9")
    assert result(made.decide()) == (OperationPhase.FAILED, "there is no server n9")
