"""How one call is tried over several members, with members that are only scripted here."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from reconciler.adapters.etcd.calls import Calls
from reconciler.adapters.etcd.endpoints import Endpoints, Watermark
from reconciler.adapters.etcd.failure import AttemptFailed, Kind, classify
from reconciler.adapters.etcd.wire import Header, Wire
from reconciler.ports.store import Denied, Indeterminate, LeaseLost, NoLeader, Unavailable

Answer = str | Kind | float  # an answer, a failure, or seconds of silence


class Member:
    """Stands in for an endpoint and its channel."""

    def __init__(self, *script: Answer) -> None:
        self.script = list(script)
        self.asked = 0

    def wire(self) -> Wire:
        return cast("Wire", self)

    async def renew(self) -> bool:
        return False


class Members:
    def __init__(self, *members: Member) -> None:
        self.members = list(members)
        self.last: list[Member] = []

    def in_order(self) -> list[Member]:
        return self.members

    def put_last(self, member: Member) -> None:
        self.last.append(member)


async def send(wire: Wire, budget_s: float) -> str:
    member = cast("Any", wire)
    member.asked += 1
    answer = member.script.pop(0) if len(member.script) > 1 else member.script[0]
    if isinstance(answer, float):
        await asyncio.sleep(min(answer, budget_s))
        if answer >= budget_s:
            raise AttemptFailed(Kind.UNKNOWN, "deadline")
        return "late"
    if isinstance(answer, Kind):
        raise AttemptFailed(answer, answer.name)
    return str(answer)


def calls(*members: Member) -> tuple[Calls, Members]:
    found = Members(*members)
    return Calls(cast("Endpoints", found), hedge_s=0.01, attempt_s=0.05), found


async def test_the_own_member_alone_is_asked_when_it_answers() -> None:
    own, other = Member("own"), Member("other")
    turn, _ = calls(own, other)
    assert await turn.hedged("x", send, 1.0) == "own"
    assert await turn.in_turn("x", send, 1.0) == "own"
    assert (own.asked, other.asked) == (2, 0)


async def test_a_silent_member_is_hedged_and_asked_last_from_then_on() -> None:
    own, other = Member(9.0), Member("other")
    turn, members = calls(own, other)
    assert await turn.hedged("x", send, 1.0) == "other"
    assert members.last == [own]


@pytest.mark.parametrize("kind", [Kind.NOT_SENT, Kind.NO_LEADER, Kind.BUSY, Kind.UNKNOWN])
async def test_a_failing_member_hands_over_at_once(kind: Kind) -> None:
    turn, _ = calls(Member(kind), Member("other"))
    assert await turn.hedged("x", send, 1.0) == "other"
    assert await turn.in_turn("x", send, 1.0) == "other"


async def test_all_members_are_tried_again_until_one_has_a_leader() -> None:
    own = Member(Kind.NO_LEADER, Kind.NO_LEADER, "elected")
    turn, _ = calls(own, Member(Kind.NOT_SENT))
    assert await turn.hedged("x", send, 1.0) == "elected"


@pytest.mark.parametrize(("kind", "error"), [(Kind.DENIED, Denied), (Kind.LEASE_LOST, LeaseLost)])
async def test_a_final_refusal_ends_the_call(kind: Kind, error: type[Exception]) -> None:
    own, other = Member(kind), Member("other")
    turn, _ = calls(own, other)
    for call in (turn.hedged, turn.in_turn):
        with pytest.raises(error):
            await call("x", send, 1.0)
    assert other.asked == 0


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ((Kind.NOT_SENT, Kind.NOT_SENT), Unavailable),
        ((Kind.NOT_SENT, Kind.NO_LEADER), NoLeader),
        ((Kind.NOT_SENT, Kind.UNKNOWN), Indeterminate),
        ((9.0, 9.0), Indeterminate),
    ],
)
async def test_a_hedged_write_says_whether_it_may_have_happened(
    script: tuple[Answer, Answer], error: type[Exception]
) -> None:
    turn, _ = calls(Member(script[0]), Member(script[1]))
    with pytest.raises(error):
        await turn.hedged("x", send, 0.15)


async def test_a_plain_write_goes_on_only_while_it_certainly_has_not_happened() -> None:
    turn, _ = calls(Member(Kind.NOT_SENT), Member("other"))
    assert await turn.in_turn("x", send, 1.0, once=True) == "other"
    third = Member("third")
    turn, _ = calls(Member(Kind.NO_LEADER), Member(Kind.UNKNOWN), third)
    with pytest.raises(Indeterminate):
        await turn.in_turn("x", send, 1.0, once=True)
    assert third.asked == 0


async def test_only_when_no_member_is_trusted_is_it_a_denial() -> None:
    turn, _ = calls(Member(Kind.UNTRUSTED), Member("other"))
    assert await turn.in_turn("x", send, 1.0) == "other"
    turn, _ = calls(Member(Kind.UNTRUSTED), Member(Kind.UNTRUSTED))
    with pytest.raises(Denied):
        await turn.in_turn("x", send, 1.0)


def not_lost(answer: str) -> bool:
    return answer != "lost"


@pytest.mark.parametrize(
    ("first", "outcome"),
    [(0.03, "late"), (9.0, Indeterminate), (Kind.UNKNOWN, Indeterminate), (Kind.NOT_SENT, "lost")],
)
async def test_an_inconclusive_answer_waits_for_what_is_under_way(
    first: Answer, outcome: str | type[Exception]
) -> None:
    turn, _ = calls(Member(first), Member("lost"))
    if isinstance(outcome, str):
        assert await turn.hedged("x", send, 1.0, not_lost) == outcome
    else:
        with pytest.raises(outcome):
            await turn.hedged("x", send, 1.0, not_lost)


async def test_a_cancelled_call_leaves_no_attempt_behind() -> None:
    turn, _ = calls(Member(9.0), Member(9.0))
    before = asyncio.all_tasks()
    call = asyncio.ensure_future(turn.hedged("x", send, 5.0))
    await asyncio.sleep(0.03)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert asyncio.all_tasks() == before


def test_answers_from_the_past_or_from_another_cluster_are_refused() -> None:
    mark = Watermark()
    mark.accept(Header(cluster_id=1, member_id=1, revision=10), 0)
    mark.accept(Header(cluster_id=1, member_id=2, revision=12), 10)
    mark.accept(Header(cluster_id=1, member_id=1, revision=11), 10)  # overtaken, but not old
    assert mark.revision == 12
    check: list[Callable[[], None]] = [
        lambda: mark.accept(Header(cluster_id=1, member_id=1, revision=11), 12),
        lambda: mark.accept(Header(cluster_id=2, member_id=1, revision=99), 12),
        lambda: mark.same_cluster(Header(cluster_id=2, member_id=1, revision=99)),
    ]
    for refused in check:
        with pytest.raises(AttemptFailed) as raised:
            refused()
        assert raised.value.kind is Kind.BACKWARD


@pytest.mark.parametrize(
    ("code", "detail", "kind"),
    [
        ("UNAVAILABLE", "etcdserver: no leader", Kind.NO_LEADER),
        ("UNAVAILABLE", "etcdserver: request timed out", Kind.UNKNOWN),
        ("UNAVAILABLE", "etcdserver: leader changed", Kind.BUSY),
        ("UNAVAILABLE", "Socket closed", Kind.UNKNOWN),
        ("UNAVAILABLE", "failed to connect to all addresses; last error: x", Kind.NOT_SENT),
        (
            "UNAVAILABLE",
            "failed to connect to all addresses; last error: Ssl handshake failed: SSL_ERROR_SSL",
            Kind.UNTRUSTED,
        ),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", Kind.UNKNOWN),
        ("PERMISSION_DENIED", "etcdserver: permission denied", Kind.DENIED),
        ("INVALID_ARGUMENT", "etcdserver: user name is empty", Kind.DENIED),
        ("INVALID_ARGUMENT", "etcdserver: duplicate key given in txn request", Kind.REFUSED),
        ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded", Kind.FULL),
        ("RESOURCE_EXHAUSTED", "etcdserver: too many requests", Kind.BUSY),
        ("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted", Kind.COMPACTED),
        ("NOT_FOUND", "etcdserver: requested lease not found", Kind.LEASE_LOST),
        ("UNKNOWN", "something new", Kind.UNKNOWN),
    ],
)
def test_what_etcd_says_becomes_a_kind(code: str, detail: str, kind: Kind) -> None:
    assert classify(code, detail) is kind
