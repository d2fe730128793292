"""What a server may start, must stop, and when it may say that it gave a group up."""

from collections.abc import Callable

import pytest

from reconciler.decide.actions import ResetSelf, Want
from reconciler.decide.leases import is_isolated, may_activate
from reconciler.decide.records import Phase, Release
from reconciler.decide.snapshot import OwnSession
from tests.decide.build import KEYS, Scene, agent, boot, written


def owner() -> Scene:
    """n1 owns web at epoch 7, n2 is coordinator."""
    return Scene().lead("n2").own("n1", epoch=7)


def _expired(scene: Scene) -> None:
    scene.own_session = OwnSession(agent("n1"), 1, 1, scene.now)


def _paused(scene: Scene) -> None:
    scene.pulse = {"pulse_alive": True, "paused": True}


def _no_pulse(scene: Scene) -> None:
    scene.pulse = {"pulse_alive": False}


def _dropped(scene: Scene) -> None:
    scene.dropped["web"] = 7


REFUSALS: dict[str, Callable[[Scene], object]] = {
    "the session is not proven": _expired,
    "this server stood still; its session must be proven again": _paused,
    "the pulse is not running": _no_pulse,
    "this server is being fenced": lambda s: s.slot("n1", executor="n2"),
    # A fence also ends the session, so this one speaks first:
    "another server owns the group": lambda s: s.own("n2", epoch=7),
    "epoch 7 is over": lambda s: s.own("n1", epoch=8),
    "epoch 7 was given up": _dropped,
    "epoch 7 was released": lambda s: s.release("n1", epoch=7),
}


def test_the_owner_may_start_at_its_epoch() -> None:
    assert may_activate(owner().snapshot(), "web", 7) is None


@pytest.mark.parametrize("reason", sorted(REFUSALS))
def test_a_start_is_refused_with_its_reason(reason: str) -> None:
    scene = owner()
    REFUSALS[reason](scene)
    assert may_activate(scene.snapshot(), "web", 7) == reason


def test_a_start_is_refused_for_more_reasons() -> None:
    assert may_activate(owner().snapshot(), "db", 7) == "another server owns the group"
    other_boot = Scene().own("n1", epoch=7, boot_id=boot("n1", 0))
    assert may_activate(other_boot.snapshot(), "web", 7) == "epoch 7 is over"
    releasing = Scene().own("n1", epoch=7, releasing=True)
    assert may_activate(releasing.snapshot(), "web", 7) == "epoch 7 was given up"
    fenced = owner().fenced("n1")
    assert may_activate(fenced.snapshot(), "web", 7) == "a fence declared this server off"
    assert may_activate(owner().no_session("n1").snapshot(), "web", 7) is not None


def test_a_later_drop_or_release_covers_the_earlier_epochs() -> None:
    scene = owner()
    scene.dropped["web"] = 9
    assert may_activate(scene.snapshot(), "web", 7) == "epoch 7 was given up"
    assert may_activate(owner().release("n1", epoch=9).snapshot(), "web", 7) is not None


def test_a_drop_or_release_of_an_earlier_epoch_is_over() -> None:
    scene = owner().release("n1", epoch=6)
    scene.dropped["web"] = 6
    assert may_activate(scene.snapshot(), "web", 7) is None


# -- wishes ----------------------------------------------------------------------------------


def want(scene: Scene, group: str = "web") -> tuple[Want, int, str] | None:
    found = scene.decide().local.get(group)
    return (found.want, found.epoch, found.cause) if found else None


def test_what_is_owned_is_wanted_running() -> None:
    assert want(owner()) == (Want.RUN, 7, "")


def test_wishes_do_not_need_a_role_or_a_session() -> None:
    scene = owner().no_session("n1").silence("n2")
    assert want(scene) == (Want.RUN, 7, "")


def test_what_another_server_owns_is_stopped_if_anything_of_it_runs_here() -> None:
    scene = Scene().own("n2", epoch=8)
    assert want(scene) is None
    assert want(scene.local("web", Phase.OFFLINE, epoch=7)) is None
    expected = (Want.STOP, 8, "this server does not own the group")
    assert want(scene.local("web", Phase.ONLINE, epoch=7)) == expected


def test_a_group_without_any_record_is_stopped_where_it_runs() -> None:
    scene = Scene().local("web", Phase.ONLINE, epoch=7)
    assert want(scene) == (Want.STOP, 7, "this server does not own the group")


def test_an_owner_that_is_asked_gives_the_group_up() -> None:
    scene = Scene().own("n1", epoch=7, releasing=True, cause="moved by alice")
    assert want(scene) == (Want.RELEASE, 7, "moved by alice")


def test_a_failed_epoch_is_given_up_with_its_failure() -> None:
    scene = owner().local("web", Phase.FAILED, epoch=7, failure="ip: no route")
    assert want(scene) == (Want.RELEASE, 7, "failed: ip: no route")


def test_a_failure_of_an_older_epoch_does_not_end_this_one() -> None:
    assert want(owner().local("web", Phase.FAILED, epoch=6, failure="ip: no route")) == (
        Want.RUN,
        7,
        "",
    )


def test_a_dropped_epoch_never_runs_again() -> None:
    scene = owner()
    scene.dropped["web"] = 7
    assert want(scene) == (Want.RELEASE, 7, "released")


def test_a_released_epoch_stays_stopped() -> None:
    assert want(owner().release("n1", epoch=7)) == (Want.STOP, 7, "released")


def test_what_an_earlier_boot_owned_is_given_up() -> None:
    scene = Scene().own("n1", epoch=7, boot_id=boot("n1", 0))
    assert want(scene) == (Want.RELEASE, 7, "the server was restarted")


def test_a_server_that_was_declared_off_stops_everything_then_resets_itself() -> None:
    scene = owner().fenced("n1").local("web", Phase.ONLINE, epoch=7)
    assert want(scene) == (Want.STOP, 7, "a fence declared this server off")
    assert not scene.decide().effects
    scene.local("web", Phase.OFFLINE, epoch=7)
    assert ResetSelf("a fence declared this server off") in scene.decide().effects


def test_what_cannot_be_stopped_resets_the_server() -> None:
    scene = Scene().own("n2", epoch=8)
    scene.local("web", Phase.STOPPING, epoch=7, stuck="ip: busy")
    assert scene.decide().effects == (ResetSelf("group web cannot be stopped: ip: busy"),)
    running = owner().local("web", Phase.ONLINE, epoch=7, stuck="ip: busy")
    assert not running.decide().effects


def test_what_another_boot_left_and_cannot_be_seen_stopped_does_not_reset_this_one_again() -> None:
    scene = Scene().own("n1", epoch=7, boot_id="n1-boot-0")
    scene.local("web", Phase.STOPPING, epoch=7, stuck="ip: still unknown after its stop")
    decision = scene.decide()
    assert want(scene) == (Want.RELEASE, 7, "the server was restarted")
    assert not any(isinstance(effect, ResetSelf) for effect in decision.effects)
    assert not decision.own_writes  # nor is it given up: it may run


def test_single_stopped_resources_stay_stopped() -> None:
    scene = Scene().own("n1", epoch=7, stopped_resources=("app",))
    assert scene.decide().local["web"].stopped_resources == ("app",)


# -- store loss ------------------------------------------------------------------------------


def test_under_keep_a_store_that_is_away_for_all_stops_nothing() -> None:
    scene = owner().no_session("n1")
    scene.proof_at = scene.now - 3600
    assert not is_isolated(scene.snapshot())
    assert want(scene) == (Want.RUN, 7, "")


def test_a_server_without_proof_that_hears_too_few_stops() -> None:
    scene = owner().silence("n2", since=3.1).silence("n3", since=3.1)
    scene.proof_at = scene.now - 5.9
    assert want(scene) == (Want.RUN, 7, "")
    scene.proof_at = scene.now - 6.1
    assert want(scene) == (Want.STOP, 7, "this server is isolated")
    scene.silence("n2", since=2.9)  # a few late heartbeats end nothing
    assert want(scene) == (Want.RUN, 7, "")


def test_an_isolated_server_starts_again_what_it_still_owns_when_it_is_back() -> None:
    scene = (
        owner().silence("n2", since=9).silence("n3", since=9).local("web", Phase.OFFLINE, epoch=7)
    )
    scene.proof_at = scene.now - 60
    assert want(scene) == (Want.STOP, 7, "this server is isolated")
    scene.hear("n2").proof_at = scene.now - 0.1
    assert want(scene) == (Want.RUN, 7, "")


def test_nothing_starts_on_a_proof_that_the_dead_man_does_not_accept_any_more() -> None:
    scene = owner()
    scene.proof_at = scene.now - 5.9
    assert may_activate(scene.snapshot(), "web", 7) is None
    scene.proof_at = scene.now - 6.1  # the lease itself would live for some seconds more
    assert "dead-man time" in (may_activate(scene.snapshot(), "web", 7) or "")


# -- releases --------------------------------------------------------------------------------


def leaving(*, dropped: bool = True, phase: Phase = Phase.OFFLINE, epoch: int = 7) -> Scene:
    scene = Scene().lead("n2").own("n1", epoch=7, releasing=True, cause="moved by alice")
    scene.local("web", phase, epoch=epoch)
    if dropped:
        scene.dropped["web"] = 7
    return scene


def test_a_release_says_that_this_epoch_is_over_here() -> None:
    record = written(leaving().decide(), KEYS.release("web"))
    assert isinstance(record, Release)
    assert (record.epoch, record.server, record.boot_id) == (7, "n1", boot("n1"))
    assert record.cause == "moved by alice"


@pytest.mark.parametrize(
    "scene",
    [
        leaving(dropped=False),
        leaving(phase=Phase.ONLINE),
        leaving(phase=Phase.STOPPING),
        leaving(phase=Phase.FAILED),
        leaving(epoch=6),
        owner().local("web", Phase.OFFLINE, epoch=7),
    ],
    ids=["not dropped", "runs", "stops", "failed", "stopped at an older epoch", "not asked"],
)
def test_nothing_is_released_before_it_was_dropped_and_seen_stopped(scene: Scene) -> None:
    assert written(scene.decide(), KEYS.release("web")) is None


def test_nothing_is_released_before_anything_was_looked_at() -> None:
    scene = leaving()
    scene.local_groups.clear()
    assert written(scene.decide(), KEYS.release("web")) is None


def test_an_isolation_stop_is_no_release() -> None:
    scene = owner().silence("n2").silence("n3").local("web", Phase.OFFLINE, epoch=7)
    scene.proof_at = scene.now - 60
    assert written(scene.decide(), KEYS.release("web")) is None


def test_a_release_is_written_once_and_compares_the_ownership() -> None:
    scene = leaving()
    decision = scene.decide()
    (write,) = decision.own_writes
    ownership = scene.tables["ownerships"]["web"].mod_revision
    assert write.depends == ((KEYS.group("web"), ownership),)
    assert not scene.store(decision).decide().own_writes
