"""The ladder of a monitor: bounded, in order, and never against the group's own rules."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.decide.records import (
    MonitorState,
    MonitorStatus,
    OperationKind,
    Phase,
)
from reconciler.decide.recovery import (
    NO_DESTINATION,
    RESTARTS_USED_UP,
    Step,
    groups_of,
    judge,
    obstacles_to,
)
from specs.monitor import MonitorSpec
from tests.decide.build import Scene

WALL = 1_700_000_000.0


def spec(**changes: Any) -> MonitorSpec:
    made = {"type": "any", "target": "group/web", "retry": 1, "resetAfter": 2}
    made["recovery"] = {"restarts": 2, "failovers": 1}
    return MonitorSpec.model_validate(made | changes)


def fresh() -> MonitorStatus:
    return MonitorStatus(monitor="m", server="n1")


def play(
    made: MonitorSpec,
    probes: str,
    status: MonitorStatus | None = None,
    obstacles: dict[Step, str] | None = None,
) -> tuple[MonitorStatus, list[Step]]:
    """`+` a healthy probe, `-` a failure, `?` one that could not be made."""
    now, steps = status or fresh(), []
    for probe in probes:
        healthy = {"+": True, "-": False, "?": None}[probe]
        now, step = judge(now, made, healthy, obstacles or {}, WALL)
        steps += [step] if step else []
    return now, steps


def test_one_failure_is_only_suspect() -> None:
    status, steps = play(spec(), "+-")
    assert (status.state, status.failures, steps) == (MonitorState.SUSPECT, 1, [])
    status, steps = play(spec(), "-", status)
    assert (status.state, steps) == (MonitorState.FAULTY, [Step.RESTART])


def test_failures_must_follow_each_other() -> None:
    assert play(spec(), "-+-+-+-+")[1] == []


def test_without_retry_the_first_failure_acts() -> None:
    assert play(spec(retry=0), "-")[1] == [Step.RESTART]


def test_the_ladder_is_climbed_in_order_and_ends_parked() -> None:
    status, steps = play(spec(), "-" * 20)
    assert steps == [Step.RESTART, Step.RESTART, Step.FAILOVER, Step.FINAL]
    assert status.state is MonitorState.PARKED
    assert (status.restarts, status.failovers, status.parked) == (2, 1, True)


def test_each_step_is_given_its_own_probes() -> None:
    """After a restart the service may need a probe or two: `retry` counts anew."""
    assert [len(play(spec(), "-" * n)[1]) for n in range(1, 7)] == [0, 1, 1, 2, 2, 3]


def test_a_single_healthy_probe_does_not_reset_the_counts() -> None:
    status, _ = play(spec(), "--+")
    assert (status.state, status.restarts) == (MonitorState.HEALTHY, 1)
    status, _ = play(spec(), "+", status)
    assert status.restarts == 0


def test_a_parked_monitor_acts_again_after_healthy_probes_only() -> None:
    parked, _ = play(spec(), "-" * 8)
    assert play(spec(), "-----", parked)[1] == []
    still, steps = play(spec(), "+--", parked)
    assert (still.state, steps) == (MonitorState.PARKED, [])
    well, _ = play(spec(), "++", parked)
    assert play(spec(), "--", well)[1] == [Step.RESTART]


def test_a_probe_that_could_not_be_made_counts_as_neither() -> None:
    suspect, _ = play(spec(), "-")
    assert play(spec(), "????", suspect) == (suspect, [])
    assert play(spec(), "-?-")[1] == [Step.RESTART]


def test_old_green_is_not_green() -> None:
    status, steps = play(spec(), "++????")
    assert (status.state, status.failures, steps) == (MonitorState.UNKNOWN, 0, [])


def test_an_obstacle_is_said_and_costs_nothing() -> None:
    status, steps = play(spec(), "-----", obstacles=dict.fromkeys(Step, "move by eve"))
    assert (status.state, status.waiting, steps) == (MonitorState.FAULTY, "move by eve", [])
    assert (status.restarts, status.failovers) == (0, 0)
    status, steps = play(spec(), "-", status)
    assert (status.waiting, steps) == ("", [Step.RESTART])


def test_used_up_restarts_of_the_group_lead_to_the_failover() -> None:
    assert play(spec(), "--", obstacles={Step.RESTART: RESTARTS_USED_UP})[1] == [Step.FAILOVER]


def test_without_a_destination_it_waits_and_only_stop_group_goes_on() -> None:
    nowhere = {Step.FAILOVER: NO_DESTINATION}
    waits, _ = play(spec(recovery={"restarts": 0}), "----", obstacles=nowhere)
    assert (waits.waiting, waits.failovers) == (NO_DESTINATION, 0)
    stops = spec(recovery={"restarts": 0, "finalAction": "stop-group"})
    assert play(stops, "----", obstacles=nowhere)[1] == [Step.FINAL]


def test_target_server_has_the_final_action_only() -> None:
    made = spec(target="server", timing="always")
    assert play(made, "----")[1] == [Step.FINAL]


REPAIR = {"text": "#!/bin/sh\n"}


def test_the_script_goes_before_the_restarts() -> None:
    made = spec(recovery={"script": REPAIR, "scripts": 2, "restarts": 1, "failovers": 0})
    status, steps = play(made, "-" * 20)
    assert steps == [Step.SCRIPT, Step.SCRIPT, Step.RESTART, Step.FINAL]
    assert (status.scripts, status.restarts) == (2, 1)
    well, _ = play(made, "++", status)
    assert well.scripts == 0


def test_a_server_may_be_repaired_before_its_final_action() -> None:
    made = spec(target="server", timing="always", recovery={"script": REPAIR})
    assert play(made, "-" * 9)[1] == [Step.SCRIPT, Step.FINAL]


@given(
    probes=st.text("+-?", max_size=120),
    retry=st.integers(0, 3),
    restarts=st.integers(0, 3),
    failovers=st.integers(0, 2),
    reset_after=st.integers(1, 5),
)
def test_between_two_resets_no_step_is_taken_too_often(
    probes: str, retry: int, restarts: int, failovers: int, reset_after: int
) -> None:
    made = spec(
        retry=retry,
        resetAfter=reset_after,
        recovery={"restarts": restarts, "failovers": failovers},
    )
    status, taken, in_a_row, failures = fresh(), [], 0, 0
    for probe in probes:
        healthy = {"+": True, "-": False, "?": None}[probe]
        status, step = judge(status, made, healthy, {}, WALL)
        in_a_row = in_a_row + 1 if healthy else in_a_row if healthy is None else 0
        failures = 0 if healthy else failures if healthy is None else failures + 1
        assert step is None or failures > retry
        if in_a_row >= reset_after:
            taken = []
        taken += [step] if step else []
        assert taken == sorted(taken, key=list(Step).index)
        assert taken.count(Step.RESTART) <= restarts
        assert taken.count(Step.FAILOVER) <= failovers
        assert taken.count(Step.FINAL) <= 1


# -- obstacles -----------------------------------------------------------------------------------


def scene() -> Scene:
    return Scene().resource("address").own("n1").local("web", Phase.ONLINE, epoch=1)


def test_a_healthy_owner_may_take_every_step() -> None:
    assert obstacles_to(scene().snapshot(), spec()) == {}


def test_a_target_that_runs_elsewhere_is_left_alone() -> None:
    found = obstacles_to(Scene().own("n2").snapshot(), spec())
    assert set(found.values()) == {"the target does not run on this server"}


def test_the_operators_wish_goes_first() -> None:
    asked = scene().operation(OperationKind.MOVE, "group/web")
    found = obstacles_to(asked.snapshot(), spec())
    assert found[Step.RESTART] == "move group/web by alice is under way"


def test_without_a_proven_session_nothing_is_stopped_that_could_not_start_again() -> None:
    found = obstacles_to(scene().no_session("n1").snapshot(), spec())
    assert found[Step.RESTART] == "group web: the session is not proven"


def test_a_failover_needs_somewhere_to_go() -> None:
    alone = scene().no_session("n2").no_session("n3").snapshot()
    assert obstacles_to(alone, spec()) == {Step.FAILOVER: NO_DESTINATION}


@pytest.mark.parametrize(
    ("failover", "reason"),
    [
        ({"mode": "manual"}, "failover of group web is manual"),
        ({"maxFailures": 1}, "one more failure would park group web (failover.maxFailures)"),
    ],
)
def test_the_groups_own_policy_holds(failover: dict[str, Any], reason: str) -> None:
    made = scene().group("web", failover=failover).snapshot()
    assert obstacles_to(made, spec()) == {Step.FAILOVER: reason}


def test_a_reboot_leaves_a_majority_and_is_not_repeated_for_an_hour() -> None:
    made = spec(target="server", timing="always", recovery={"finalAction": "reboot"})
    snapshot = scene().snapshot()
    assert obstacles_to(snapshot, made) == {}
    soon = obstacles_to(snapshot, made, final_wall=snapshot.wall - 60)
    assert soon == {Step.FINAL: "this monitor took its final action here less than an hour ago"}
    assert obstacles_to(snapshot, made, final_wall=snapshot.wall - 4000) == {}
    two = scene().no_session("n3").snapshot()
    assert "no majority" in obstacles_to(two, made)[Step.FINAL]


def test_targets_are_groups_that_this_server_owns() -> None:
    made = scene().snapshot()
    assert groups_of(made, spec(target="resource/address")) == ("web",)
    assert groups_of(made, spec(target="all-groups", timing="always")) == ("web",)
    assert groups_of(made, spec(target="group/other")) == ()
