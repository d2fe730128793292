"""What people are told about a group: never old green as live, never a guess."""

from reconciler.decide.keys import Keys
from reconciler.decide.records import (
    Challenge,
    Coordinator,
    FenceIntent,
    FenceOutcome,
    FenceRecord,
    GroupStatus,
    Operation,
    OperationKind,
    Ownership,
    Phase,
    ResourceStatus,
    ServerStatus,
    Session,
    Verdict,
    Wanted,
)
from reconciler.decide.status import group_view
from reconciler.decide.stored import StoredRecords, read_records

KEYS = Keys("demo")
OWNED = Ownership(
    group="web", epoch=7, owner="n1", boot_id="boot-1", incarnation="i1", since_wall=100.0
)
LIVES = Session(server="n1", boot_id="boot-1", incarnation="i1", lease=1)
ONLINE = GroupStatus(
    group="web",
    server="n1",
    epoch=7,
    phase=Phase.ONLINE,
    since_wall=200.0,
    resources=(ResourceStatus(name="ip", type="floating-ip", state="active"),),
)


def records(**changes: object) -> StoredRecords:
    base: dict[str, object] = {
        "coordinator": Coordinator(server="n2", incarnation="i2"),
        "sessions": {"n1": LIVES},
        "groups": {"web": OWNED},
        "group_status": {("n1", "web"): ONLINE},
    }
    return StoredRecords(**(base | changes))  # type: ignore[arg-type]


def test_the_report_of_the_live_owner_at_the_current_epoch_is_shown() -> None:
    view = group_view("web", records(), [("ip", "floating-ip")])
    assert (view.phase, view.owner, view.epoch, view.live) == (Phase.ONLINE, "n1", 7, True)
    assert view.since_wall == 200.0
    assert view.resources[0].state == "active"


def test_a_report_of_an_older_epoch_never_counts() -> None:
    old = ONLINE.model_copy(update={"epoch": 6})
    view = group_view("web", records(group_status={("n1", "web"): old}), [("ip", "floating-ip")])
    assert view.phase is Phase.STARTING
    assert not view.live
    assert view.resources[0].state == "unknown"


def test_a_report_of_a_server_that_is_not_the_owner_never_counts() -> None:
    other = ONLINE.model_copy(update={"server": "n2"})
    for where in (("n2", "web"), ("n1", "web")):
        view = group_view("web", records(group_status={where: other}))
        assert view.phase is Phase.STARTING


def test_an_owner_without_session_is_blocked_and_its_last_green_is_called_old() -> None:
    view = group_view("web", records(sessions={}), [("ip", "floating-ip")])
    assert view.phase is Phase.BLOCKED
    assert "has no session" in view.reasons[0]
    assert any(reason.startswith("last report of n1: online") for reason in view.reasons)
    assert view.resources[0].state == "unknown"


def test_an_owner_that_was_rebooted_does_not_show_the_old_boots_report() -> None:
    again = LIVES.model_copy(update={"boot_id": "boot-2"})
    view = group_view("web", records(sessions={"n1": again}))
    assert view.phase is Phase.RECOVERING
    assert "another boot" in view.reasons[0]


def test_a_session_alone_does_not_keep_an_old_report_green() -> None:
    """A session outlives a crash by its whole TTL."""
    slot = FenceIntent(
        victim="n1", covers=("boot-1",), executor="n2", executor_incarnation="i2",
        level=0, attempt=1, valid_for_s=5, requested_by="n2", reason="silent",
    )  # fmt: skip
    challenge = Challenge(server="n1", challenger="n2", nonce="x")
    deaf = ServerStatus(
        server="n2", boot_id="b2", incarnation="i2", heartbeats={"n1": {"private": "silent"}}
    )
    two = {"n1": LIVES, "n2": Session(server="n2", boot_id="b2", incarnation="i2", lease=2)}
    for phase, signs in (
        (Phase.RECOVERING, {"fence_slot": slot}),
        (Phase.RECOVERING, {"challenges": {"n1": challenge}}),
        (Phase.BLOCKED, {"sessions": two, "server_status": {"n2": deaf}}),
    ):
        view = group_view("web", records(**signs))
        assert view.phase is phase, signs
        assert not view.live
        assert "last report of n1: online" in view.reasons[1]


def test_recovering_ends_where_nothing_follows_by_itself() -> None:
    """After a failed fence, without a coordinator, or by the coordinator's word it is blocked."""
    challenge = Challenge(server="n1", challenger="n2", nonce="x")
    asked = {"challenges": {"n1": challenge}}
    assert group_view("web", records(**asked)).phase is Phase.RECOVERING
    failed = FenceRecord(
        server="n1", covers=("boot-1",), outcome=FenceOutcome.FAILED, executor="n2"
    )
    said = Verdict(group="web", phase=Phase.BLOCKED, reasons=("n1 has no fence device",))
    for more in (
        {"fences": {"n1": failed}},
        {"coordinator": None},
        {"verdicts": {"web": said}},
        {"sessions": {}},
    ):
        assert group_view("web", records(**{**asked, **more})).phase is Phase.BLOCKED, more


def test_a_restarted_agent_on_the_same_boot_still_counts() -> None:
    again = LIVES.model_copy(update={"incarnation": "i9"})
    assert group_view("web", records(sessions={"n1": again})).phase is Phase.ONLINE


def test_the_fence_in_progress_and_its_result_are_reasons() -> None:
    slot = FenceIntent(
        victim="n1", covers=("boot-1",), executor="n2", executor_incarnation="i2",
        level=0, attempt=2, valid_for_s=5,
        requested_by="n2", reason="silent",
    )  # fmt: skip
    view = group_view("web", records(sessions={}, fence_slot=slot))
    assert "n1 owns it but is being fenced by n2, attempt 2: silent" in view.reasons[0]
    failed = FenceRecord(
        server="n1",
        covers=("boot-1",),
        outcome=FenceOutcome.FAILED,
        executor="n2",
        detail="timeout",
    )
    view = group_view("web", records(sessions={}, fences={"n1": failed}))
    assert "n1 could not be proven off: failed (timeout)" in view.reasons


def test_blocked_by_the_coordinator_overrules_and_keeps_all_reasons() -> None:
    verdict = Verdict(
        group="web", phase=Phase.BLOCKED, reasons=("BMC of n1 does not answer",),
        next_command="clusterctl fence confirm n1",
    )  # fmt: skip
    view = group_view("web", records(sessions={}, verdicts={"web": verdict}))
    assert view.phase is Phase.BLOCKED
    assert view.reasons[0] == "BMC of n1 does not answer"
    assert any("has no session" in reason for reason in view.reasons)
    assert view.needs_person
    assert view.next_command == "clusterctl fence confirm n1"


def test_a_person_is_not_needed_while_an_operation_is_under_way() -> None:
    verdict = Verdict(group="web", phase=Phase.BLOCKED, next_command="clusterctl fence confirm n1")
    wish = Operation(id="1", kind=OperationKind.CONFIRM_FENCE, target="server/n1")
    view = group_view(
        "web", records(sessions={}, verdicts={"web": verdict}, operations={"1": wish})
    )
    assert not view.needs_person


def test_green_is_never_taken_from_a_verdict() -> None:
    verdict = Verdict(group="web", phase=Phase.ONLINE)
    assert group_view("web", records(sessions={}, verdicts={"web": verdict})).phase is Phase.BLOCKED


def test_an_old_starting_verdict_does_not_hide_the_live_owners_report() -> None:
    verdict = Verdict(group="web", phase=Phase.STARTING)
    assert group_view("web", records(verdicts={"web": verdict})).phase is Phase.ONLINE


def test_stopping_while_the_owner_is_asked_to_release() -> None:
    own = OWNED.model_copy(update={"releasing": True, "cause": "move by alice"})
    view = group_view("web", records(groups={"web": own}))
    assert view.phase is Phase.STOPPING
    assert view.reasons == ("n1 was asked to hand it over (move by alice)",)
    stuck = ONLINE.model_copy(update={"phase": Phase.FAILED, "reasons": ("ip: cannot stop",)})
    view = group_view("web", records(groups={"web": own}, group_status={("n1", "web"): stuck}))
    assert view.phase is Phase.FAILED
    assert view.reasons[-1] == "ip: cannot stop"


def test_stopped_on_request_needs_a_person_to_come_back() -> None:
    own = OWNED.model_copy(update={"owner": None, "wanted": Wanted.OFFLINE})
    view = group_view("web", records(groups={"web": own}), [("ip", "floating-ip")])
    assert view.phase is Phase.OFFLINE
    assert view.needs_person
    assert view.next_command == "clusterctl start group/web"
    assert view.resources[0].state == "inactive"
    start = Operation(id="1", kind=OperationKind.START, target="group/web")
    assert not group_view("web", records(groups={"web": own}, operations={"1": start})).needs_person


def test_a_group_that_nobody_ever_owned_is_offline_and_says_when_nobody_decides() -> None:
    view = group_view("web", StoredRecords())
    assert (view.phase, view.owner, view.epoch) == (Phase.OFFLINE, None, 0)
    assert any("no coordinator" in reason for reason in view.reasons)


def test_json_has_the_promised_fields() -> None:
    status = group_view("web", records(), [("ip", "floating-ip")]).to_json()
    assert status["owner"] == "n1"
    assert status["epoch"] == 7
    assert status["phase"] == "online"
    assert status["since"] == "1970-01-01T00:03:20.000+00:00"
    assert set(status) >= {"reasons", "resources", "previousOwner", "cause"}


def test_records_are_read_from_the_store_and_unreadable_ones_are_named() -> None:
    items = [
        (KEYS.group("web"), OWNED.to_bytes()),
        (KEYS.session("n1"), LIVES.to_bytes()),
        (KEYS.group_status("n1", "web"), ONLINE.to_bytes()),
        (KEYS.verdict("web"), b"{broken"),
        (KEYS.head, b"{}"),
    ]
    found = read_records(KEYS, items)
    assert found.groups["web"] == OWNED
    assert found.group_status["n1", "web"] == ONLINE
    assert found.unreadable == (KEYS.verdict("web"),)


def test_waiting_for_the_startup_barrier_does_not_need_a_person() -> None:
    verdict = Verdict(
        group="web",
        phase=Phase.OFFLINE,
        reasons=("waiting for n3",),
        next_command="clusterctl barrier bypass",
    )
    view = group_view("web", StoredRecords(verdicts={"web": verdict}))
    assert view.reasons[0] == "waiting for n3"
    assert not view.needs_person
    assert view.next_command == "clusterctl barrier bypass"


def test_the_coordinators_remark_on_a_running_group_is_a_reason() -> None:
    verdict = Verdict(group="web", phase=Phase.ONLINE, reasons=("n1 is heard without session",))
    view = group_view("web", records(sessions={}, verdicts={"web": verdict}))
    assert view.phase is Phase.BLOCKED
    assert view.reasons[0] == "n1 is heard without session"
