"""What scripts are told: why their group starts or stops here, under all the names they know."""

from typing import Any

import pytest

from reconciler.decide.circumstances import (
    FAILOVER,
    START,
    Circumstances,
    circumstances,
    script_variables,
)
from reconciler.decide.records import OperationKind, Phase, Proof, Wanted
from tests.decide.build import Scene


def found(scene: Scene, resource: str = "") -> Circumstances:
    return circumstances(scene.snapshot(), "web", resource)


@pytest.mark.parametrize(
    ("record", "event"),
    [
        ({}, START),
        ({"previous_owner": "n2", "proof": Proof.FENCED, "cause": "n2 was fenced"}, FAILOVER),
        ({"previous_owner": "n2", "proof": Proof.CONFIRMED, "cause": "a person"}, FAILOVER),
        ({"previous_owner": "n2", "proof": Proof.RELEASED, "cause": "failed: x: gone"}, FAILOVER),
        ({"previous_owner": "n2", "proof": Proof.RELEASED, "cause": "failback to n1"}, START),
        ({"previous_owner": "n2", "operation": "01", "cause": "moved by eve"}, START),
        ({"previous_owner": "n2", "operation": "01", "proof": Proof.FENCED}, START),
        ({"previous_owner": "n1", "proof": Proof.RELEASED, "cause": "failed: x: gone"}, START),
    ],
)
def test_a_failover_is_what_nobody_wished_for(record: dict[str, Any], event: str) -> None:
    assert found(Scene().own("n1", **record)).event == event


def test_a_restart_in_place_is_no_failover() -> None:
    scene = Scene().own("n1", previous_owner="n2", proof=Proof.FENCED)
    assert found(scene).event == FAILOVER
    assert found(scene.local("web", Phase.ONLINE)).event == START


@pytest.mark.parametrize(
    ("scene", "factor"),
    [
        (Scene().own("n1").local("web", Phase.STARTING), ""),
        (Scene().own("n1").local("web", Phase.ONLINE), "RESOURCERESTART"),
        (
            Scene().own("n1", stopped_resources=("job",)).local("web", Phase.ONLINE),
            "RESOURCESTOP",
        ),
        (
            Scene().own("n1", releasing=True, wanted=Wanted.OFFLINE).local("web", Phase.STOPPING),
            "GROUPSTOP",
        ),
        (
            Scene()
            .own("n1", releasing=True, operation="01")
            .operation(OperationKind.MOVE, "group/web")
            .local("web", Phase.STOPPING),
            "GROUPMOVE",
        ),
        (Scene().own("n1", releasing=True).local("web", Phase.STOPPING), "GROUPMOVE"),
        (Scene().own("n1").local("web", Phase.STOPPING, failure="job: gone"), "GROUPFAILOVER"),
        (Scene().own("n2").local("web", Phase.STOPPING), "GROUPFAILOVER"),
    ],
)
def test_the_factor_says_why_it_stops(scene: Scene, factor: str) -> None:
    assert found(scene, "job").factor == factor


def test_without_anything_known_it_is_a_start() -> None:
    assert circumstances(None, "web") == Circumstances()


def variables(server: str, action: str = "start", **more: Any) -> dict[str, str]:
    made = Circumstances(cluster="demo", servers=("n2", "n1"), **more)
    return script_variables(
        made, group="web", resource="job", server=server, epoch=7, action=action
    )


def test_home_is_the_first_server_of_the_group() -> None:
    assert (variables("n2")["CLP_SERVER"], variables("n2")["CLP_PRIORITY"]) == ("HOME", "1")
    assert (variables("n1")["ARMS_SERVER"], variables("n1")["ARMS_PRIORITY"]) == ("OTHER", "2")
    assert (variables("n9")["CLP_SERVER"], variables("n9")["CLP_PRIORITY"]) == ("OTHER", "")


def test_a_factor_is_for_stops() -> None:
    assert variables("n1", factor="GROUPMOVE")["CLP_FACTOR"] == ""
    assert variables("n1", "stop", factor="GROUPMOVE")["CLUSTER_FACTOR"] == "groupmove"
    assert variables("n1", "stop")["CLP_FACTOR"] == "RESOURCERESTART"


def test_any_sentence_fits_into_an_environment() -> None:
    assert len(variables("n1", cause="x\0" * 100_000)["CLUSTER_CAUSE"]) == 1000
    assert "\0" not in variables("n1", cause="x\0y")["CLUSTER_CAUSE"]
