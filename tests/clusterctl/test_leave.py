"""cluster leave: refused while the server is a part of what runs, or the store needs its vote."""

import pytest

from clusterctl.bootstrap.leaving import members_left, refuse_needed
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from reconciler.decide.records import (
    FenceOutcome,
    FenceRecord,
    Ownership,
    Release,
    Session,
    StoreLife,
)
from reconciler.decide.stored import StoredRecords
from reconciler.ports.store import MemberHealth
from tests.clusterctl.conftest import FakeCluster

WEB = Ownership(group="web", epoch=3, owner="n3", boot_id="b3")
GIVEN_UP = Release(group="web", epoch=3, server="n3", boot_id="b3")
HERE = Session(server="n3", boot_id="b3", incarnation="i3", lease=3)


def refusal(**records: object) -> tuple[int, str, str]:
    with pytest.raises(Failure) as failed:
        refuse_needed("n3", StoredRecords(**records))  # type: ignore[arg-type]
    return failed.value.code, failed.value.message, failed.value.next_command


def test_a_server_that_owns_a_group_is_drained_first() -> None:
    code, text, then = refusal(groups={"web": WEB})
    assert (code, then) == (ExitCode.REFUSED, "clusterctl drain n3")
    assert "owns web" in text
    refuse_needed("n3", StoredRecords(groups={"web": WEB}, releases={"web": GIVEN_UP}))
    off = FenceRecord(
        server="n3", covers=("b3",), outcome=FenceOutcome.CONFIRMED_OFF, executor="n1"
    )
    refuse_needed("n3", StoredRecords(groups={"web": WEB}, fences={"n3": off}))
    older = GIVEN_UP.model_copy(update={"epoch": 2})
    assert "owns web" in refusal(groups={"web": WEB}, releases={"web": older})[1]


def test_a_server_whose_agent_is_there_or_that_is_in_doubt_stays() -> None:
    assert "systemctl disable --now" in refusal(sessions={"n3": HERE})[2]
    life = StoreLife(store_id="x", generation=1, doubted=("n3",))
    assert "fence confirm n3" in refusal(store_life=life)[2]
    refuse_needed("n2", StoredRecords(groups={"web": WEB}, sessions={"n3": HERE}, store_life=life))


def member(name: str, reachable: bool = True) -> MemberHealth:
    return MemberHealth(name, f"https://{name}:2379", reachable, name == "n1", 0.0)


def test_the_others_must_keep_the_stores_quorum() -> None:
    names = {"n1", "n2", "n3"}
    whole = tuple(member(name) for name in sorted(names))
    assert members_left("n3", names, whole) == 2
    assert members_left("n3", names, (*whole[:2], member("n3", False))) == 2
    with pytest.raises(Failure, match="would lose its quorum"):
        members_left("n3", names, (whole[0], member("n2", False), whole[2]))
    with pytest.raises(Failure, match="would lose its quorum"):
        members_left("n1", {"n1"}, (member("n1"),))
    # one without a vote takes none away
    assert members_left("n4", names, (whole[0], member("n2", False), whole[2])) == 3


def test_the_name_is_wanted_twice(cluster: FakeCluster) -> None:
    result = cluster.run("cluster", "leave", "n3")
    assert (result.code, "--yes-i-mean n3" in result.err) == (5, True)
