"""Standby servers follow what the owner says, once for each epoch; the owner never follows them."""

import pytest

from reconciler.decide.records import Phase
from reconciler.decide.standby import STANDBY_START, STANDBY_STOP, is_due, standby_wish
from tests.decide.build import Scene

ONLINE = Scene().own("n2", epoch=4).status("n2", epoch=4)
Wish = tuple[str, int] | None


@pytest.mark.parametrize(
    ("scene", "wish"),
    [
        (Scene(), None),
        (ONLINE, (STANDBY_START, 4)),
        (Scene().own("n1", epoch=4).status("n1", epoch=4), None),
        (Scene().own("n2", epoch=4), None),
        (Scene().own("n2", epoch=4).status("n2", epoch=3), None),
        (Scene().own("n2", epoch=4).status("n2", epoch=4, phase=Phase.STARTING), None),
        (Scene().own("n2", epoch=4).status("n2", epoch=4, phase=Phase.STOPPING), (STANDBY_STOP, 4)),
        (Scene().own("n2", epoch=4, releasing=True).status("n2", epoch=4), (STANDBY_STOP, 4)),
        (Scene().own(None, epoch=4), (STANDBY_STOP, 4)),
        (Scene().own("n2", epoch=4).status("n2", epoch=4).silence("n2"), None),
        (Scene().group("web", servers=["n2", "n3"]).own("n2", epoch=4).status("n2", epoch=4), None),
    ],
)
def test_the_wish_follows_the_owner(scene: Scene, wish: Wish) -> None:
    assert standby_wish(scene.snapshot(), "web") == wish


@pytest.mark.parametrize(
    ("wish", "last", "due"),
    [
        (None, None, False),
        ((STANDBY_START, 4), None, True),
        ((STANDBY_START, 4), (STANDBY_START, 4), False),
        ((STANDBY_START, 5), (STANDBY_START, 4), True),
        ((STANDBY_STOP, 4), None, False),
        ((STANDBY_STOP, 4), (STANDBY_START, 4), True),
        ((STANDBY_STOP, 5), (STANDBY_STOP, 4), False),
        ((STANDBY_START, 6), (STANDBY_STOP, 4), True),
    ],
)
def test_a_start_once_for_each_epoch_and_a_stop_only_after_it(
    wish: Wish, last: Wish, due: bool
) -> None:
    assert is_due(wish, last) is due
