"""Who gets ready for a group: the server that would be chosen, once its owner is in doubt."""

from reconciler.decide.preparation import groups_to_prepare
from reconciler.decide.records import Wanted
from tests.decide.build import Scene


def test_nobody_gets_ready_while_all_is_well() -> None:
    assert groups_to_prepare(Scene("n2").group("web").own("n1").snapshot()) == {}


def test_the_next_in_the_list_gets_ready_when_the_owner_is_suspected() -> None:
    for me, expected in (("n2", {"web": "doubted"}), ("n3", {})):
        scene = Scene(me).group("web", servers=["n1", "n2", "n3"]).own("n1").suspect("n1")
        assert groups_to_prepare(scene.snapshot()) == expected


def test_a_release_is_another_stage_than_its_request() -> None:
    asked = Scene("n2").group("web", servers=["n1", "n2", "n3"]).own("n1", releasing=True)
    assert groups_to_prepare(asked.snapshot()) == {"web": "releasing"}
    released = Scene("n2").group("web", servers=["n1", "n2", "n3"]).own("n1", releasing=True)
    assert groups_to_prepare(released.release("n1").snapshot()) == {"web": "released"}


def test_a_group_that_is_to_stop_needs_nobody() -> None:
    scene = Scene("n2").group("web").own("n1", releasing=True, wanted=Wanted.OFFLINE)
    assert groups_to_prepare(scene.snapshot()) == {}
