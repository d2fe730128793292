"""A server gives up what it keeps only when it is alone and unproven for longer than the deadline,
and what it must stop when it is unproven."""

from hypothesis import given
from hypothesis import strategies as st

from reconciler.pulse.deadman import DeadManState, Scope, Situation, step

D = 6.0


def situation(now: float, **fields: object) -> Situation:
    values = {"deadline": D, "proven_at": 0.0, "hears_majority": False, "armed": True, **fields}
    return Situation(now=now, **values)  # type: ignore[arg-type]


def fires(*situations: Situation) -> list[float]:
    state, fired = DeadManState(), []
    for one in situations:
        state, _, fire = step(state, one)
        if fire:
            fired.append(one.now)
    return fired


def scopes(*situations: Situation) -> list[Scope]:
    state, found = DeadManState(), []
    for one in situations:
        state, scope, _ = step(state, one)
        found.append(scope)
    return found


def test_alone_and_unproven_longer_than_the_deadline_ends_everything() -> None:
    assert fires(situation(0.0), situation(6.0), situation(6.1)) == [6.1]


def test_a_total_loss_of_the_store_stops_nobody_who_is_heard() -> None:
    assert not fires(*(situation(t, hears_majority=True) for t in (0.0, 10.0, 1e6)))


def test_a_proven_session_keeps_an_isolated_server_running() -> None:
    assert not fires(*(situation(float(t), proven_at=t - 1.0) for t in range(100)))


def test_hearing_the_majority_again_starts_the_time_anew() -> None:
    assert not fires(situation(0.0), situation(5.0, hears_majority=True), situation(7.0))


def test_not_knowing_who_is_heard_neither_starts_nor_ends_an_isolation() -> None:
    assert not fires(situation(0.0, hears_majority=None), situation(20.0, hears_majority=None))
    paused = situation(6.5, hears_majority=None)
    assert fires(situation(0.0), paused, situation(7.0)) == [7.0]


def test_nothing_to_end_never_fires() -> None:
    assert not fires(situation(0.0, armed=False), situation(100.0, armed=False))


def test_it_fires_again_each_second_while_the_reason_lasts() -> None:
    assert fires(situation(0.0), *(situation(7 + t / 10) for t in range(25))) == [7.0, 8.0, 9.0]


def test_what_must_stop_is_ended_without_a_proof_whoever_is_heard() -> None:
    heard = [situation(t, hears_majority=True, armed_stop=True) for t in (6.0, 6.1, 6.2, 7.2)]
    assert scopes(*heard) == [Scope.NOTHING, Scope.STOP, Scope.STOP, Scope.STOP]
    assert fires(*heard) == [6.1, 7.2]


def test_what_must_stop_is_ended_also_when_nobody_can_say_who_is_heard() -> None:
    assert scopes(situation(7.0, hears_majority=None, armed_stop=True)) == [Scope.STOP]


def test_isolation_ends_the_rest_at_once_when_the_stopped_ones_ended_before() -> None:
    first = situation(7.0, armed_stop=True)  # it is alone from here on
    later = situation(13.1, armed_stop=True)
    assert scopes(first, later) == [Scope.STOP, Scope.EVERYTHING]
    assert fires(first, situation(13.0, armed_stop=True), later) == [7.0, 13.0, 13.1]


def test_a_new_proof_ends_the_reason() -> None:
    proven = situation(8.0, proven_at=7.5, armed_stop=True)
    assert scopes(situation(7.0, armed_stop=True), proven) == [Scope.STOP, Scope.NOTHING]


@given(
    st.lists(
        st.tuples(
            st.floats(0.001, 3.0),
            st.sampled_from([True, False, None]),
            st.booleans(),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_it_never_fires_within_the_deadline_of_a_proof_or_of_company(
    steps: list[tuple[float, bool | None, bool, bool]],
) -> None:
    state, now, proven_at, company_at = DeadManState(), 0.0, 0.0, 0.0
    for wait, majority, proof, armed in steps:
        now += wait
        proven_at = now if proof else proven_at
        company_at = now if majority else company_at
        state, _, fire = step(
            state,
            situation(now, proven_at=proven_at, hears_majority=majority, armed=armed),
        )
        if fire:
            assert armed
            assert now - proven_at > D
            assert now - company_at > D
