"""Timings that must fit together, with the arithmetic in words; used by the checks and `apply`."""

from collections.abc import Iterator
from dataclasses import dataclass

from specs.cluster import Timing, TimingSpec
from specs.errors import SpecProblem
from specs.fields import key_of
from specs.spec_set import LoadedObject
from specs.yaml_text import Path

STORE_CALL_S = 0.7
"""Deadline of every call to the store."""
CLOCK_DRIFT = 0.1
"""Two clocks are assumed to run within this ratio of each other (rho)."""
RESET_S = 1.0
"""Kill path: cgroup kill, removal of addresses."""
_SHORTEST_SILENCE_S = 0.06
_ROUNDING = 1e-9


def timing_sums(timing: Timing, watchdog: float = 0.0) -> tuple[str, ...]:
    """The sums that are checked, worked out, one a line. `watchdog`: the longest time-out (W) of a
    Server's watchdog, 0 when there is none."""
    return (_renewal_sum(timing), _dead_man_sum(timing, watchdog), _detection_sum(timing))


def self_end(timing: Timing, watchdog: float) -> float:
    """Seconds after the send time of its last renewal by which a server has ended what it must,
    by any clock: its dead-man D, then its watchdog W, then the reset."""
    return (timing.dead_man + watchdog) * (1 + CLOCK_DRIFT) + RESET_S


def check_watchdog(item: LoadedObject, timeout: float, timing: Timing) -> Iterator[SpecProblem]:
    """`item` is a Server whose watchdog has this time-out."""
    usable = timing.session_ttl * (1 - CLOCK_DRIFT)
    if self_end(timing, timeout) > usable + _ROUNDING:
        longest = int((usable - RESET_S) / (1 + CLOCK_DRIFT) - timing.dead_man + _ROUNDING)
        other = "lower deadMan or raise sessionTTL in the Cluster"
        advice = f"timeout can be {_s(longest)} at most, or {other}" if longest >= 1 else other
        yield item.problem(
            ("spec", "watchdog", "timeout"),
            f"does not hold: {_dead_man_sum(timing, timeout)}; the watchdog could reset the server "
            f"after its session has ended: {advice}",
            "E0401",
        )


def check_timing(item: LoadedObject, spec: TimingSpec) -> Iterator[SpecProblem]:
    """`item` is the Cluster whose `spec.timing` is `spec`."""
    timing = spec.resolved()
    for rule in (*_session_rules(timing), *_detection_rules(timing)):
        if rule.broken:
            # Blame a field that the user wrote before one that the profile set.
            written = [key for key in rule.keys if getattr(spec, _FIELDS[key]) is not None]
            path: Path = ("spec", "timing", written[0] if written else rule.keys[0])
            yield item.problem(path, rule.sentence, rule.code)


_FIELDS = {key_of(name, info): name for name, info in TimingSpec.model_fields.items()}


@dataclass(frozen=True, slots=True)
class _Rule:
    keys: tuple[str, ...]
    broken: bool
    sentence: str
    code: str = "E0401"


def _session_rules(t: Timing) -> Iterator[_Rule]:
    yield _Rule(
        ("sessionTTL", "sessionRenewal"),
        t.session_ttl < _renewal_need(t) - _ROUNDING,
        f"does not hold: {_renewal_sum(t)}; a busy store would end healthy sessions",
    )
    usable = t.session_ttl * (1 - CLOCK_DRIFT)
    latest = (usable - RESET_S) / (1 + CLOCK_DRIFT)
    advice = f"deadMan can be {_s(int(latest * 10) / 10)} at most"
    yield _Rule(
        ("deadMan", "sessionTTL"),
        self_end(t, 0.0) > usable + _ROUNDING,
        f"does not hold: {_dead_man_sum(t, 0.0)}; a server could still act after its session has "
        f"ended: {advice if latest >= _renewals_need(t) else 'raise sessionTTL'}",
    )
    yield _Rule(
        ("deadMan", "sessionRenewal"),
        t.dead_man < _renewals_need(t) - _ROUNDING,
        f"does not hold: 2 x sessionRenewal {_s(t.session_renewal)} + store call "
        f"{_s(STORE_CALL_S)} = {_s(_renewals_need(t))} <= deadMan {_s(t.dead_man)}; one lost "
        "renewal would stop a healthy server",
    )


def _detection_rules(t: Timing) -> Iterator[_Rule]:
    yield _Rule(
        ("heartbeatMisses", "heartbeatInterval", "challengeTimeout", "sessionTTL"),
        t.silence + t.challenge_timeout >= t.session_ttl,
        f"does not hold: {_detection_sum(t)}; the session would end before the detector speaks",
    )
    yield _Rule(
        ("heartbeatInterval", "heartbeatMisses"),
        t.silence < _SHORTEST_SILENCE_S - _ROUNDING,
        f"heartbeatMisses {t.heartbeat_misses} x heartbeatInterval {_s(t.heartbeat_interval)} = "
        f"{_s(t.silence)} is below {_s(_SHORTEST_SILENCE_S)}: short pauses of a busy machine "
        "will look like deaths",
        "W0401",
    )
    round_trip = 2 * t.etcd_heartbeat_ms / 1000
    yield _Rule(
        ("challengeTimeout",),
        t.challenge_timeout < round_trip - _ROUNDING,
        f"challengeTimeout {_s(t.challenge_timeout)} is below two heartbeats of the store, "
        f"{_s(round_trip)} in profile {t.profile}: living servers will be fenced",
        "W0401",
    )


def _s(seconds: float) -> str:
    return f"{round(seconds * 1000, 3):g}ms" if 0 < seconds < 1 else f"{round(seconds, 3):g}s"


def _renewals_need(t: Timing) -> float:
    return 2 * t.session_renewal + STORE_CALL_S


def _renewal_need(t: Timing) -> float:
    return 3 * t.session_renewal + STORE_CALL_S


def _renewal_sum(t: Timing) -> str:
    return (
        f"3 x sessionRenewal {_s(t.session_renewal)} + store call {_s(STORE_CALL_S)} = "
        f"{_s(_renewal_need(t))} <= sessionTTL {_s(t.session_ttl)}"
    )


def _dead_man_sum(t: Timing, watchdog: float) -> str:
    return (
        f"(deadMan {_s(t.dead_man)} + watchdog {_s(watchdog)}) x {1 + CLOCK_DRIFT:g} + reset "
        f"{_s(RESET_S)} = {_s(self_end(t, watchdog))} <= sessionTTL {_s(t.session_ttl)} x "
        f"{1 - CLOCK_DRIFT:g} = {_s(t.session_ttl * (1 - CLOCK_DRIFT))}"
    )


def _detection_sum(t: Timing) -> str:
    return (
        f"heartbeatMisses {t.heartbeat_misses} x heartbeatInterval {_s(t.heartbeat_interval)} + "
        f"challengeTimeout {_s(t.challenge_timeout)} = {_s(t.silence + t.challenge_timeout)} < "
        f"sessionTTL {_s(t.session_ttl)}"
    )
