"""`why` tells the last decision with its proof, each candidate's reason and the way to it."""

from typing import Any

from reconciler.decide.explanation import (
    explain_group,
    explain_monitor,
    explain_resource,
    explain_server,
)
from reconciler.decide.records import (
    Candidate,
    Coordinator,
    EventRecord,
    FenceOutcome,
    FenceRecord,
    GroupStatus,
    MonitorState,
    MonitorStatus,
    Ownership,
    Phase,
    Proof,
    Release,
    ResourceStatus,
    Session,
    Verdict,
)
from reconciler.decide.stored import StoredRecords

WALL = 1_700_000_000.0


def event(at: float, by: str, name: str, **fields: object) -> EventRecord:
    return EventRecord(
        id=f"{at + 1000:010.3f}{by}{name}", name=name, server=by, at_wall=WALL + at, fields=fields
    )


FAILOVER = [
    event(-500, "n1", "group_granted", group="web", server="n1", epoch=1, reason="first start"),
    event(-499.8, "n1", "group_online", group="web", epoch=1, duration_ms=200),
    event(0.0, "n2", "server_suspected", server="n1"),
    event(0.002, "n3", "server_suspected", server="n1"),
    event(0.01, "n2", "server_challenged", server="n1"),
    event(0.2, "n2", "fence_requested", server="n1", executor="n2", why="silent", attempt=1),
    event(0.26, "n2", "fence_executed", server="n1", outcome="confirmed-off", detail="read off"),
    event(0.27, "n2", "group_granted", group="web", server="n2", epoch=2, previous_owner="n1"),
    event(0.31, "n2", "resource_started", group="web", resource="web-ip", duration_ms=31.0),
    event(0.35, "n2", "group_online", group="web", epoch=2, duration_ms=80.0),
    event(9.0, "n3", "group_granted", group="db", server="n3", epoch=2, reason="another group"),
    event(60.0, "n2", "resource_drifted", group="web", resource="web-ip", state="inactive"),
]
CHOICE = (
    Candidate(server="n2", eligible=True, reason="preference 2"),
    Candidate(server="n3", eligible=True, reason="preference 3"),
    Candidate(server="n1", eligible=False, reason="it is fenced"),
)


def taken_over(**more: Any) -> StoredRecords:
    """web went from n1, which was fenced, to n2."""
    ownership = Ownership(
        group="web",
        epoch=2,
        owner="n2",
        boot_id="b2",
        proof=Proof.FENCED,
        cause="n1 was fenced",
        previous_owner="n1",
        since_wall=WALL,
        candidates=CHOICE,
        decided_by="n2",
    )
    fence = FenceRecord(
        server="n1",
        covers=("b1",),
        outcome=FenceOutcome.CONFIRMED_OFF,
        executor="n2",
        detail="power read off",
        duration_ms=41.0,
        at_wall=WALL,
    )
    status = GroupStatus(
        group="web",
        server="n2",
        epoch=2,
        phase=Phase.ONLINE,
        resources=(ResourceStatus(name="web-ip", type="floating-ip", state="active"),),
    )
    values: dict[str, Any] = {
        "coordinator": Coordinator(server="n2", incarnation="i2"),
        "sessions": {"n2": Session(server="n2", boot_id="b2", incarnation="i2", lease=1)},
        "groups": {"web": ownership},
        "fences": {"n1": fence},
        "group_status": {("n2", "web"): status},
        **more,
    }
    return StoredRecords(**values)


def test_a_failover_is_told_with_proof_choice_and_timeline() -> None:
    told = explain_group("web", taken_over(), FAILOVER)
    assert (told.state, told.where, told.because) == ("online", "n2", ("n1 was fenced",))
    assert told.decided == "given to n2 at epoch 2, from n1"
    assert (told.decided_by, told.decided_wall) == ("n2", WALL + 0.27)
    assert told.proof == "fenced by n2: power read off (41 ms)"
    assert told.chosen == "n2"
    assert [c.reason for c in told.candidates] == ["preference 2", "preference 3", "it is fenced"]
    assert [step.event for step in told.steps] == [
        "server_suspected",
        "server_challenged",
        "fence_requested",
        "fence_executed",
        "group_granted",
        "resource_started",
        "group_online",
    ]


def test_the_timeline_in_json_counts_milliseconds_from_the_first_sign() -> None:
    shown = explain_group("web", taken_over(), FAILOVER).to_json()
    assert [step["ms"] for step in shown["timeline"]] == [0, 10, 200, 260, 270, 310, 350]
    assert shown["object"] == "group/web"
    assert shown["chosen"] == "n2"


def test_without_events_the_records_still_tell() -> None:
    told = explain_group("web", taken_over(), [])
    assert (told.decided_by, told.decided_wall) == ("n2", WALL)
    assert told.steps == ()
    assert told.because == ("n1 was fenced",)


def test_a_blocked_group_is_told_with_the_next_command() -> None:
    reasons = ("n1 owns it and is not proven stopped", "n1 has no fence device")
    confirm = "clusterctl fence confirm n1"
    records = taken_over(
        groups={"web": Ownership(group="web", epoch=1, owner="n1", boot_id="b1")},
        fences={},
        verdicts={
            "web": Verdict(group="web", phase=Phase.BLOCKED, reasons=reasons, next_command=confirm)
        },
    )
    told = explain_group("web", records, FAILOVER[:5])
    assert told.state == "blocked"
    assert told.because[:2] == reasons
    assert told.next_command == confirm
    assert [step.event for step in told.steps] == ["server_suspected", "server_challenged"]


def test_a_release_is_told_with_its_cause() -> None:
    records = taken_over()
    own = records.groups["web"].model_copy(update={"proof": Proof.RELEASED, "cause": "failed: x"})
    release = Release(group="web", epoch=1, server="n1", boot_id="b1", cause="failed: x")
    told = explain_group("web", taken_over(groups={"web": own}, releases={"web": release}), [])
    assert told.proof == "n1 released it: failed: x"


def test_a_resource_is_told_by_its_own_events_and_its_group() -> None:
    told = explain_resource("web-ip", "web", taken_over(), FAILOVER)
    assert (told.state, told.where) == ("active", "n2")
    assert told.because == ("group/web is online", "n1 was fenced")
    assert [step.event for step in told.steps] == ["resource_started", "resource_drifted"]


def test_a_server_is_told_by_its_last_fence_and_what_it_lost() -> None:
    told = explain_server("n1", taken_over(), FAILOVER)
    assert told.state == "fenced"
    assert "n1 was fenced because it was silent" in told.because
    assert told.decided_by == "n2"
    assert [step.event for step in told.steps][-1] == "group_granted"
    assert all("group db" not in step.text for step in told.steps)


def test_a_monitor_is_told_by_its_last_step() -> None:
    status = MonitorStatus(
        monitor="watch",
        server="n2",
        state=MonitorState.FAULTY,
        reason="no answer",
        waiting="group web is not online",
        restarts=1,
        last_step="restart",
        last_step_wall=WALL,
    )
    events = [event(0, "n2", "monitor_faulted", monitor="watch", reason="no answer")]
    told = explain_monitor("watch", taken_over(monitor_status={("n2", "watch"): status}), events)
    assert told.because == ("no answer", "group web is not online")
    assert told.decided == "last step of its recovery: restart"
    assert told.more == {"n2": "1 restarts, 0 failovers taken"}
    assert [step.text for step in told.steps] == ["monitor watch is faulty: no answer"]


def test_what_nobody_ever_owned_is_told_as_that() -> None:
    told = explain_group("web", StoredRecords(), [])
    assert told.decided == "no server was ever chosen"
    assert told.because
