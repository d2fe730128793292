"""Two servers and a witness: the specs of examples/05-two-servers under the faults they are for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import marks
from tests.faults.cluster_under_test import WAIT_S, ClusterUnderTest, now_wall

pytestmark = marks.long
EXAMPLE = Path(__file__).parents[2] / "examples/05-two-servers"
PAIR = ("n1", "n2")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    made = ClusterUnderTest.start(tmp_path_factory.mktemp("pair") / "d")
    try:
        made.ctl("apply", str(EXAMPLE))
        yield made
    finally:
        made.down()


@pytest.fixture
def pair(lab: ClusterUnderTest) -> ClusterUnderTest:
    lab.make_whole()
    lab.ctl("clear", "group/web", check=False)
    lab.eventually(lambda: set(monitor(lab).values()) == {"healthy"}, "both reach the clients")
    return lab


def monitor(lab: ClusterUnderTest) -> dict[str, str]:
    servers = lab.status("monitor/web-clients")["servers"]
    return {name: each["state"] for name, each in servers.items()}


def other(owner: str) -> str:
    return next(name for name in PAIR if name != owner)


def test_the_other_takes_over_with_the_vote_of_the_witness(pair: ClusterUnderTest) -> None:
    owner = pair.owner()
    assert owner in PAIR
    pair.break_("crash", owner)
    pair.wait_group(on=other(owner))
    assert pair.group()["proof"] == "fenced"


def test_without_the_witness_everything_runs_on(pair: ClusterUnderTest) -> None:
    owner, began = pair.owner(), now_wall()
    pair.break_("power", "n3", "off")
    pair.wait_event("fence_confirmed", began, server="n3")
    assert pair.owner() == owner
    assert not pair.events("group_granted", since=began)


def test_a_cut_cable_between_the_two_is_no_failover(pair: ClusterUnderTest) -> None:
    owner, began = pair.owner(), now_wall()
    pair.break_("cut", owner, "--network", "all", "--from", other(owner))
    pair.eventually(
        lambda: (
            set(pair.paths("n3", owner).values()) == {"heard"}
            and set(pair.paths(other(owner), owner).values()) == {"silent"}
        ),
        "only the witness hears both",
    )
    pair.wait_event("server_challenged", began, server=owner)
    assert not pair.events("fence_requested", since=began)
    assert pair.owner() == owner


def test_the_owner_yields_to_the_one_that_reaches_the_clients(pair: ClusterUnderTest) -> None:
    owner = pair.owner()
    pair.break_("cut", owner, "--network", "public")
    pair.wait_group(on=other(owner), timeout_s=2 * WAIT_S)
    assert pair.group()["proof"] == "released"


def test_nobody_yields_when_nobody_reaches_the_clients(pair: ClusterUnderTest) -> None:
    owner, began = pair.owner(), now_wall()
    for name in (other(owner), owner):  # the owner last: till then there must be no better one
        pair.break_("cut", name, "--network", "public")
        pair.eventually(
            lambda cut=name: monitor(pair).get(cut) in ("faulty", "parked"),  # type: ignore[misc]
            f"{name} does not reach them",
        )
    assert pair.owner() == owner
    assert not pair.events("group_granted", since=began)
