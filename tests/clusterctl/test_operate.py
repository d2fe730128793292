"""move, start, stop, clear, barrier, fence, wait: one wish each, its end as an exit code."""

import json
from collections.abc import AsyncGenerator

import pytest

from clusterctl.commands.wait import Watched
from clusterctl.objects import Ref
from clusterctl.picture import Picture, parse_kinds
from reconciler.decide.records import (
    EventRecord,
    FenceIntent,
    GroupStatus,
    OperationKind,
    Ownership,
    Phase,
    Session,
    Verdict,
    Wanted,
)
from reconciler.decide.stored import StoredRecords
from reconciler.repository import StoredObject, StoredSet
from tests.clusterctl.conftest import KEYS, SPECS, WALL, FakeCluster, types

WEB = "apiVersion: clusterctl/v1\nkind: Group\nmetadata: {name: web}\nspec: {servers: [n1]}\n"


@pytest.mark.parametrize(
    ("words", "kind", "target"),
    [
        (("move", "web", "--to", "n2"), OperationKind.MOVE, "group/web"),
        (("move", "group/web"), OperationKind.MOVE, "group/web"),
        (("start", "group/web"), OperationKind.START, "group/web"),
        (("stop", "group/web"), OperationKind.STOP, "group/web"),
        (("stop", "resource/web-ip"), OperationKind.STOP, "resource/web-ip"),
        (("clear", "group/web"), OperationKind.CLEAR, "group/web"),
        (("barrier", "bypass"), OperationKind.BYPASS_BARRIER, "cluster"),
        (("fence", "n1", "--yes-i-mean", "n1"), OperationKind.FENCE, "server/n1"),
    ],
)
def test_each_verb_writes_one_wish_and_prints_its_result(
    cluster: FakeCluster, words: tuple[str, ...], kind: OperationKind, target: str
) -> None:
    cluster.online().answers[str(kind)] = (True, "it is so")
    result = cluster.run(*words, "--why", "drill")
    assert (result.code, result.out) == (0, "● it is so\n")
    (operation,) = cluster.operations()
    assert (operation.kind, operation.target, operation.why) == (kind, target, "drill")
    assert operation.who
    assert operation.nonce
    assert len(operation.id) == 26


def test_move_names_the_wished_server(cluster: FakeCluster) -> None:
    cluster.online().answers["move"] = (True, "group web is online on n2")
    assert cluster.run("move", "web", "--to", "server/n2").code == 0
    assert cluster.operations()[0].to == "n2"
    assert cluster.run("move", "web", "--to", "n9").code == 2


def test_a_failed_operation_is_6_with_its_reason(cluster: FakeCluster) -> None:
    cluster.online().answers["move"] = (False, "web-ip: 10.77.2.100 is used by another machine")
    result = cluster.run("move", "web")
    assert result.code == 6
    assert "failed: web-ip: 10.77.2.100 is used" in result.err
    assert "next: clusterctl describe group/web" in result.err


def test_a_wish_that_ended_before_it_began_was_refused(cluster: FakeCluster) -> None:
    cluster.online().refuses["move"] = "n3 cannot run it (n3: not in the group's list)"
    result = cluster.run("move", "web", "--to", "n3")
    assert result.code == 5
    assert result.err.startswith("refused: n3 cannot run it")


def test_no_wait_prints_the_id(cluster: FakeCluster) -> None:
    result = cluster.online().run("stop", "group/web", "--no-wait")
    assert (result.code, result.out.strip()) == (0, cluster.operations()[0].id)
    shown = json.loads(cluster.run("start", "group/web", "--no-wait", "-o", "json").out)
    assert set(shown) == {"id"}


def test_nobody_answers_is_a_timeout_that_says_that_the_wish_stands(cluster: FakeCluster) -> None:
    result = cluster.online().run("move", "web", "--timeout", "50ms")
    assert result.code == 7
    assert "it goes on" in result.err
    assert "clusterctl get operation/" in result.err


def test_the_result_as_json(cluster: FakeCluster) -> None:
    cluster.online().answers["start"] = (True, "up")
    shown = json.loads(cluster.run("start", "group/web", "-o", "json").out)
    assert shown["phase"] == "done"
    assert shown["result"] == "up"


def test_wrong_targets_are_usage_errors(cluster: FakeCluster) -> None:
    cluster.online()
    for words in (
        ("start", "nope"),
        ("start", "server/n1"),
        ("start", "resource/web-ip", "--to", "n2"),
        ("stop", "group/nope"),
        ("move", "server/n1"),
        ("clear", "resource/web-ip"),
    ):
        assert cluster.run(*words).code == 2, words
    assert cluster.operations() == []


def test_fence_wants_the_name_twice(cluster: FakeCluster) -> None:
    cluster.online()
    for words in (
        ("fence", "n1"),
        ("fence", "n1", "--yes-i-mean", "n2"),
        ("fence", "confirm", "n1"),
    ):
        result = cluster.run(*words)
        assert result.code == 5, words
        assert "repeating its name with --yes-i-mean n1" in result.err
    assert cluster.operations() == []


def test_confirm_is_refused_while_the_server_lives_or_is_heard(cluster: FakeCluster) -> None:
    cluster.online()
    result = cluster.run("fence", "confirm", "n1", "--yes-i-mean", "n1")
    assert result.code == 5
    assert "has a session" in result.err
    cluster.remove(KEYS.session("n1"))
    result = cluster.run("fence", "confirm", "n1", "--yes-i-mean", "n1")
    assert result.code == 5
    assert "n2, n3 still hears n1" in result.err


def test_confirm_is_bound_to_the_boot_that_owned_the_group(cluster: FakeCluster) -> None:
    cluster.online().answers["confirm-fence"] = (True, "n1 counts as off")
    for server in ("n1", "n2", "n3"):
        cluster.remove(KEYS.session(server))
    result = cluster.run("fence", "confirm", "n1", "--yes-i-mean", "n1")
    assert result.code == 0
    assert cluster.operations()[0].boot_id == "boot-n1"


def test_fence_test_logs_in_and_fails_with_1(cluster: FakeCluster) -> None:
    result = cluster.applied().run("fence", "test")
    assert result.code == 0
    assert result.out.splitlines()[0] == "● n1 test-pdu outlet 1 is on"
    broken = cluster.file("specs.yaml", SPECS.replace("outlet: 2", "outlet: 9"))
    assert cluster.run("apply", "-f", broken).code == 0
    result = cluster.run("fence", "test", "n2", "-o", "json")
    assert result.code == 1
    shown = json.loads(result.out)[0]
    assert (shown["ok"], shown["detail"]) == (False, "login refused")


def test_fence_on_switches_on_from_here(cluster: FakeCluster) -> None:
    result = cluster.applied().run("fence", "on", "n1")
    assert (result.code, "n1 is switched on (test-pdu)" in result.out) == (0, True)
    broken = cluster.file("specs.yaml", SPECS.replace("outlet: 2", "outlet: 9"))
    assert cluster.run("apply", "-f", broken).code == 0
    failed = cluster.run("fence", "on", "n2")
    assert (failed.code, "test-pdu: the outlet is broken" in failed.err) == (1, True)
    assert cluster.run("fence", "on", "n9").code != 0


def test_fence_on_waits_for_no_fence_that_is_under_way(cluster: FakeCluster) -> None:
    intent = FenceIntent(
        victim="n1",
        covers=("b1",),
        executor="n2",
        executor_incarnation="i",
        level=0,
        attempt=1,
        valid_for_s=10.0,
        requested_by="n2",
        reason="silent and unanswered",
    )
    cluster.online().put(KEYS.fence_slot, intent)
    result = cluster.run("fence", "on", "n1")
    assert (result.code, "is being fenced right now" in result.err) == (5, True)


def test_fence_status_of_untested_devices(cluster: FakeCluster) -> None:
    out = cluster.applied().run("fence", "status").out
    assert "n1      test-pdu  -          ? not tested" in out
    shown = json.loads(cluster.run("fence", "status", "-o", "json").out)
    assert shown[0]["server"] == "n1"


def test_wait_is_met_at_once_when_it_is_so(cluster: FakeCluster) -> None:
    result = cluster.online().run("wait", "group/web", "--for", "online")
    assert (result.code, result.out) == (0, "group/web ● online\n")
    assert cluster.run("wait", "server/n1", "--for", "online").code == 0
    assert cluster.run("wait", "resource/web-ip", "--for", "active").code == 0
    assert cluster.run("wait", "group/web", "--for", "failed", "--for", "online").code == 0
    assert cluster.run("wait", "group/none", "--for", "deleted").code == 0


def test_wait_watches_until_it_is_so(cluster: FakeCluster) -> None:
    cluster.online()
    starting = GroupStatus(group="web", server="n1", epoch=3, phase=Phase.STARTING)
    cluster.put(KEYS.group_status("n1", "web"), starting)

    async def comes_up() -> None:
        online = starting.model_copy(update={"phase": Phase.ONLINE})
        cluster.put(KEYS.group_status("n1", "web"), online)

    cluster.background.append(comes_up)
    assert cluster.run("wait", "group/web", "--for", "online", "--timeout", "5s").code == 0


def test_wait_waits_for_creation_too(cluster: FakeCluster) -> None:
    result = cluster.run("wait", "group/web", "--for", "online", "--timeout", "50ms")
    assert result.code == 7
    assert "group/web is deleted" not in result.err
    assert "group/web does not exist" in result.err


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterctl.commands.wait.LASTING_S", 0.05)


async def test_a_state_that_needs_a_person_for_a_moment_only_is_no_end() -> None:
    blocked = Verdict(group="web", phase=Phase.BLOCKED, next_command="clusterctl fence confirm n1")
    stored = StoredSet(1, {"Group/web": StoredObject(WEB, "cli", "")})
    specs = parse_kinds(stored, ("Group",), types())
    own = Ownership(group="web", epoch=1, owner="n1", boot_id="b")
    session = Session(server="n1", boot_id="b", incarnation="i", lease=1)
    report = GroupStatus(group="web", server="n1", epoch=1, phase=Phase.ONLINE)

    async def pictures() -> AsyncGenerator[Picture, None]:
        gone = StoredRecords(groups={"web": own}, verdicts={"web": blocked})
        yield Picture(stored, gone, WALL, specs)
        back = StoredRecords(
            groups={"web": own}, sessions={"n1": session}, group_status={("n1", "web"): report}
        )
        yield Picture(stored, back, WALL, specs)

    watched = Watched(Ref("Group", "web"), frozenset({"online"}))
    assert (await watched.until_met(pictures())).group("web").phase is Phase.ONLINE


def test_wait_gives_up_when_only_a_person_can_help(cluster: FakeCluster) -> None:
    cluster.online().remove(KEYS.session("n1"))
    verdict = Verdict(
        group="web", phase=Phase.BLOCKED, reasons=("BMC of n1 does not answer",),
        next_command="clusterctl fence confirm n1",
    )  # fmt: skip
    cluster.put(KEYS.verdict("web"), verdict)
    result = cluster.run("wait", "group/web", "--for", "online", "--timeout", "30s")
    assert result.code == 6
    assert "BMC of n1 does not answer" in result.err
    assert "next: clusterctl fence confirm n1" in result.err
    assert cluster.run("wait", "group/web", "--for", "blocked").code == 0


def test_wait_does_not_give_up_on_a_takeover_under_way(cluster: FakeCluster) -> None:
    cluster.online().remove(KEYS.session("n1"))
    result = cluster.run("wait", "group/web", "--for", "online", "--timeout", "50ms")
    assert result.code == 7


def test_wait_gives_up_on_a_group_that_was_stopped(cluster: FakeCluster) -> None:
    cluster.online().put(
        KEYS.group("web"), Ownership(group="web", epoch=3, wanted=Wanted.OFFLINE, cause="stopped")
    )
    result = cluster.run("wait", "group/web", "--for", "online")
    assert result.code == 6
    assert "next: clusterctl start group/web" in result.err


def test_wait_knows_the_states_of_each_kind(cluster: FakeCluster) -> None:
    result = cluster.online().run("wait", "group/web", "--for", "onlin")
    assert result.code == 2
    assert "known: online, offline" in result.err


def test_watching_prints_what_changes_until_interrupted(cluster: FakeCluster) -> None:
    own = Ownership(group="web", epoch=4, owner="n2", boot_id="boot-n2", since_wall=WALL)
    result = cluster.online().run_until_interrupted(
        "get", "groups", "-w", "-o", "json", then=lambda: cluster.put(KEYS.group("web"), own)
    )
    assert result.code == 130
    owners = [json.loads(line)["status"]["owner"] for line in result.out.splitlines()]
    assert owners == ["n1", "n2"]


def test_following_events_prints_new_ones_as_they_come(cluster: FakeCluster) -> None:
    first = EventRecord(id="1", name="session_created", server="n1", at_wall=WALL)
    second = first.model_copy(update={"id": "2", "name": "group_online"})
    cluster.put(KEYS.event("1"), first)
    result = cluster.run_until_interrupted(
        "events", "-f", "-o", "json", then=lambda: cluster.put(KEYS.event("2"), second)
    )
    assert result.code == 130
    names = [json.loads(line)["name"] for line in result.out.splitlines()]
    assert names == ["session_created", "group_online"]


def test_ctrl_c_while_waiting_says_that_the_wish_stands(cluster: FakeCluster) -> None:
    cluster.online().interrupt_when = lambda: bool(cluster.operations())
    result = cluster.run_until_interrupted("move", "web")
    assert result.code == 130
    assert "goes on" in result.err


def test_status_watches_too(cluster: FakeCluster) -> None:
    result = cluster.online().run_until_interrupted(
        "status", "-w", "-o", "json", then=lambda: cluster.remove(KEYS.session("n3"))
    )
    states = [json.loads(line)["state"] for line in result.out.splitlines()]
    assert (result.code, states) == (130, ["ok", "degraded"])


def test_a_wish_for_a_blocked_group_says_at_once_that_it_waits(cluster: FakeCluster) -> None:
    verdict = Verdict(
        group="web", phase=Phase.BLOCKED, reasons=("n1 owns it and is not proven stopped",)
    )
    cluster.online().put(KEYS.verdict("web"), verdict)
    cluster.remove(KEYS.session("n1"))
    result = cluster.run("move", "web", "--timeout", "50ms")
    assert result.code == 7
    assert "group/web is blocked" in result.err
    assert "the wish waits until it is not" in result.err


def test_a_bare_name_is_a_group_for_start_and_stop_too(cluster: FakeCluster) -> None:
    assert cluster.online().run("stop", "web", "--no-wait").code == 0
    assert [operation.target for operation in cluster.operations()] == ["group/web"]
