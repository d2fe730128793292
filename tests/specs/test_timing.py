"""Timings: the profiles hold, and what does not hold is refused with the sum worked out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.check import errors_of
from specs.cluster import PROFILES, TimingSpec
from specs.errors import SpecErrors
from specs.timing_rules import timing_sums
from tests.specs.sets import SOUND, checked, only, replaced


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_every_profile_holds(profile: str) -> None:
    assert checked(*replaced("{profile: default}", f"{{'profile': {profile}}}")) == []


def test_a_profile_sets_all_and_a_field_overrides_it() -> None:
    timing = TimingSpec(profile="fast-lan", challenge_timeout=0.2).resolved()
    assert (timing.heartbeat_interval, timing.heartbeat_misses) == (0.02, 4)
    assert timing.challenge_timeout == 0.2
    assert (timing.session_ttl, timing.session_renewal, timing.dead_man) == (10, 1, 6)
    assert (timing.etcd_heartbeat_ms, timing.etcd_election_ms) == (20, 200)
    assert TimingSpec().resolved() == PROFILES["default"]


def test_the_sums_are_printed() -> None:
    renewal, dead_man, detection = timing_sums(PROFILES["default"])
    assert renewal == "3 x sessionRenewal 1s + store call 700ms = 3.7s <= sessionTTL 10s"
    assert dead_man == (
        "(deadMan 6s + watchdog 0s) x 1.1 + reset 1s = 7.6s <= sessionTTL 10s x 0.9 = 9s"
    )
    assert detection == (
        "heartbeatMisses 4 x heartbeatInterval 50ms + challengeTimeout 150ms = 350ms "
        "< sessionTTL 10s"
    )


@pytest.mark.parametrize(
    ("fields", "path", "sum_"),
    [
        ("deadMan: 9s", "deadMan", "(deadMan 9s + watchdog 0s) x 1.1 + reset 1s = 10.9s"),
        ("deadMan: 9s", "deadMan", "deadMan can be 7.2s at most"),
        ("sessionTTL: 6s", "sessionTTL", "= 7.6s <= sessionTTL 6s x 0.9 = 5.4s"),
        ("deadMan: 2s", "deadMan", "2 x sessionRenewal 1s + store call 700ms = 2.7s <= deadMan 2s"),
        ("sessionRenewal: 3500ms", "sessionRenewal", "= 11.2s <= sessionTTL 10s"),
        ("heartbeatInterval: 3s", "heartbeatInterval", "= 12.15s < sessionTTL 10s"),
    ],
)
def test_timings_that_contradict_each_other_are_refused(fields: str, path: str, sum_: str) -> None:
    problems = errors_of(checked(*replaced("profile: default", fields)))
    assert {problem.code for problem in problems} == {"E0401"}
    told = [problem for problem in problems if problem.path == f"spec.timing.{path}"]
    assert any(sum_ in problem.message for problem in told), problems
    assert all(problem.line == 9 for problem in problems)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("heartbeatInterval: 10ms", "= 40ms is below 60ms"),
        ("challengeTimeout: 60ms", "below two heartbeats of the store, 100ms"),
    ],
)
def test_unwise_timings_are_warnings(fields: str, message: str) -> None:
    problem = only(checked(*replaced("profile: default", fields)))
    assert problem.code == "W0401"
    assert message in problem.message


def with_watchdog(timeout: str) -> tuple[str, ...]:
    """The sound set with a watchdog for n1."""
    addresses = "  addresses: {private: 10.77.1.11"
    return replaced(addresses, f"  watchdog: {{timeout: {timeout}}}\n{addresses}")


def test_a_watchdog_that_fits_is_taken() -> None:
    assert checked(*with_watchdog("1s")) == []


@pytest.mark.parametrize(
    ("timeout", "message"),
    [
        ("2s", "(deadMan 6s + watchdog 2s) x 1.1 + reset 1s = 9.8s <= sessionTTL 10s x 0.9 = 9s"),
        ("2s", "timeout can be 1s at most, or lower deadMan"),
    ],
)
def test_a_watchdog_that_does_not_fit_is_refused(timeout: str, message: str) -> None:
    problem = only(errors_of(checked(*with_watchdog(timeout))))
    assert problem.path == "spec.watchdog.timeout"
    assert message in problem.message


def test_a_watchdog_counts_whole_seconds() -> None:
    with pytest.raises(SpecErrors, match="whole seconds"):
        checked(*with_watchdog("1500ms"))


@given(st.floats(min_value=0.5, max_value=100), st.floats(min_value=1, max_value=100))
def test_an_accepted_dead_man_ends_before_the_session(dead_man: float, ttl: float) -> None:
    text = f"deadMan: {dead_man:.3f}s, sessionTTL: {ttl:.3f}s, sessionRenewal: 100ms"
    refused = errors_of(checked(*replaced("profile: default", text)[:1], *SOUND[1:4]))
    slowest = round(dead_man, 3) * 1.1 + 1
    soonest = round(ttl, 3) * 0.9
    if not any(problem.code == "E0401" for problem in refused):
        assert slowest <= soonest + 1e-6
