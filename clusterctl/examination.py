"""What could make the next failover fail or wait, before it happens. Pure; `doctor` prints it.

Each check is a function of the case: stored records, specs, members of the store. It yields results
and never guesses: what nobody reported is a WARN that says so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from clusterctl.mirrors import mirrors_in
from reconciler.decide.cordon_words import cordon_words, undrain
from reconciler.decide.doubt import HEARD
from reconciler.decide.mirror_view import MirrorState
from reconciler.decide.records import ServerFacts
from reconciler.decide.server_status import server_view
from reconciler.decide.stored import StoredRecords
from reconciler.ports.store import MemberHealth, way_out
from specs.cluster import Timing
from specs.spec_set import SpecSet
from specs.timing_rules import timing_sums

OLD_TEST_S = 900.0  # three rounds of self-tests
CLOCK_WARN_S, CLOCK_FAIL_S = 1.0, 30.0
CERTIFICATE_DAYS = 30.0


class Result(StrEnum):
    PASS = "PASS"  # noqa: S105 - a verdict, not a secret
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Check:
    """`id` is stable: scripts rely on it. `subject` is "cluster" or a server's name."""

    id: str
    subject: str
    result: Result
    reason: str
    next_command: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "subject": self.subject,
            "result": self.result.value,
            "reason": self.reason,
            "next": self.next_command,
        }


@dataclass(frozen=True, slots=True)
class Case:
    """`revision` is the head of the specs, `wall` the asker's clock (seconds since the epoch)."""

    specs: SpecSet
    records: StoredRecords
    members: Sequence[MemberHealth]
    revision: int
    wall: float

    @property
    def timing(self) -> Timing | None:
        return self.specs.cluster.spec.timing.resolved() if self.specs.cluster else None

    @property
    def live(self) -> list[str]:
        return [name for name in sorted(self.specs.servers) if name in self.records.sessions]

    @property
    def facts(self) -> Mapping[str, ServerFacts]:
        """Of live servers, and of their present boot only."""
        sessions = self.records.sessions
        found = self.records.server_facts
        return {s: found[s] for s in self.live if s in found and _same_boot(found[s], sessions[s])}


def _same_boot(facts: ServerFacts, session: Any) -> bool:
    return bool(facts.boot_id == session.boot_id)


def examine(case: Case) -> tuple[Check, ...]:
    """Every check, in the order of the page."""
    return tuple(result for check in CHECKS for result in check(case))


def _quorum(case: Case) -> Iterator[Check]:
    total = len(case.members)
    away = [member.server for member in case.members if not member.reachable]
    spare = total - len(away) - (total // 2 + 1)
    if away:
        result = Result.FAIL if spare < 0 else Result.WARN
        text = f"{total - len(away)} of {total} members answer; away: {', '.join(away)}"
        text += "; no further one may fail" if spare <= 0 else ""
        yield Check("quorum", "cluster", result, text, "systemctl status clusterctl-etcd")
    else:
        yield Check("quorum", "cluster", Result.PASS, f"all {total} members of the store answer")


def _witness(case: Case) -> Iterator[Check]:
    total = len(case.members)
    join = "clusterctl cluster token"
    if total < 3:
        text = f"{total} member(s): the store has no majority once one server is gone"
        yield Check("witness", "cluster", Result.FAIL, f"{text}; add a third, any machine", join)
    elif total % 2 == 0:
        text = f"{total} members bear no more failures than {total - 1}"
        yield Check("witness", "cluster", Result.WARN, text, join)
    else:
        text = f"{total} members: {(total - 1) // 2} may fail"
        yield Check("witness", "cluster", Result.PASS, text)


def _space(case: Case) -> Iterator[Check]:
    """With an alarm sessions live on and all looks well, but no decision can be stored."""
    if alarm := next((member.alarm for member in case.members if member.alarm), ""):
        yield Check("store-writes", "cluster", Result.FAIL, alarm, way_out(alarm))
    else:
        yield Check("store-writes", "cluster", Result.PASS, "no alarm: the store takes writes")


def _coordinator(case: Case) -> Iterator[Check]:
    holder = case.records.coordinator
    if holder is None:
        look = "systemctl status clusterctl-agent"
        yield Check("coordinator", "cluster", Result.FAIL, "nobody decides now", look)
    else:
        yield Check("coordinator", "cluster", Result.PASS, f"{holder.server} decides")
    for name in sorted(set(case.specs.servers) - set(case.live)):
        text = "no session: agent stopped, or server away"
        yield Check("agent", name, Result.FAIL, text, f"clusterctl describe server/{name}")
    for name in case.live:
        status = case.records.server_status.get(name)
        if status is not None and status.revision != case.revision:
            text = f"works by specs r{status.revision}, the head is r{case.revision}"
            yield Check("agent", name, Result.WARN, text, f"clusterctl events --server {name}")
        else:
            yield Check("agent", name, Result.PASS, "has a session and the newest specs")


def _cordons(case: Case) -> Iterator[Check]:
    """A failover has one server less to go to."""
    for name in sorted(case.specs.servers):
        if text := cordon_words(name, case.records):
            yield Check("takes-groups", name, Result.WARN, text, undrain(name))
        else:
            yield Check("takes-groups", name, Result.PASS, "takes groups")


def _fencing(case: Case) -> Iterator[Check]:
    for name, server in sorted(case.specs.servers.items()):
        levels = (
            tuple(str(x.get("type")) for x in server.spec.fencing.levels)
            if (server.spec.fencing)
            else ()
        )
        if not levels:
            text = "no fence device: when it dies its groups wait for a person"
            yield Check("fencing", name, Result.FAIL, text, "clusterctl explain server.fencing")
            continue
        yield _fencing_tests(case, name, levels)


def _fencing_tests(case: Case, name: str, levels: tuple[str, ...]) -> Check:
    view = server_view(name, case.records, now_wall=case.wall, fencing_levels=levels)
    tests = [test for test in view.tests if test.live and test.by != name]
    test = f"clusterctl fence test {name}"
    if not tests:
        return Check("fencing", name, Result.WARN, "no other server has tested its device", test)
    failed = sorted(t.by for t in tests if not t.test.ok)
    working = {t.test.level for t in tests if t.test.ok}
    if failed:
        worst = next(t for t in tests if not t.test.ok)
        text = f"level {worst.test.level} fails from {', '.join(failed)}: {worst.test.detail}"
        return Check("fencing", name, Result.WARN if working else Result.FAIL, text, test)
    oldest = max((t.age_s or 0.0) for t in tests)
    text = f"{', '.join(levels)}: tested by {len(tests)} server(s), {oldest:.0f} s ago at most"
    return Check("fencing", name, Result.WARN if oldest > OLD_TEST_S else Result.PASS, text)


def _timing(case: Case) -> Iterator[Check]:
    timing = case.timing
    if timing is None:
        return
    yield Check("timing-sums", "cluster", Result.PASS, "; ".join(timing_sums(timing)))
    for name in case.live:
        facts = case.facts.get(name)
        if facts is None or facts.fsync_ms is None or facts.store_ms is None:
            text = "it has not measured itself yet"
            yield Check("timing-measured", name, Result.WARN, text)
            continue
        yield _against_fsync(name, facts.fsync_ms, timing)
        yield _against_round_trip(name, facts.store_ms, timing)


def _against_fsync(name: str, fsync_ms: float, timing: Timing) -> Check:
    """etcd's leader must store within its election time-out; a tenth leaves room for a burst."""
    limit = timing.etcd_election_ms
    text = f"slowest durable write {fsync_ms:g} ms; the store's election time-out is {limit} ms"
    if fsync_ms >= limit:
        return Check("fsync", name, Result.FAIL, f"{text}: use a faster disk or profile wan")
    return Check("fsync", name, Result.WARN if fsync_ms > limit / 10 else Result.PASS, text)


def _against_round_trip(name: str, store_ms: float, timing: Timing) -> Check:
    """A healthy server must answer a challenge, which is two trips to the store, within C."""
    limit = timing.challenge_timeout * 1000
    text = f"slowest agreed read {store_ms:g} ms; a challenge waits {limit:g} ms for two of them"
    if 2 * store_ms >= limit:
        return Check("round-trip", name, Result.FAIL, f"{text}: choose a slower timing profile")
    return Check("round-trip", name, Result.WARN if 4 * store_ms > limit else Result.PASS, text)


def _paths(case: Case) -> Iterator[Check]:
    cluster = case.specs.cluster
    networks = [n.name for n in cluster.spec.networks if n.heartbeat] if cluster else []
    if len(networks) < 2:
        text = f"heartbeats travel on {len(networks)} network: its switch alone looks like a death"
        look = "clusterctl explain cluster.networks"
        yield Check("heartbeat-paths", "cluster", Result.WARN, text, look)
    else:
        text = f"heartbeats travel on {', '.join(networks)}"
        yield Check("heartbeat-paths", "cluster", Result.PASS, text)
    for name in case.live:
        yield from _interfaces(case, name, networks)
        yield _reach(case, name)


def _interfaces(case: Case, name: str, networks: list[str]) -> Iterator[Check]:
    facts = case.facts.get(name)
    if facts is None:
        return
    used = {network: facts.interfaces.get(network, "") for network in networks}
    missing = sorted(network for network, interface in used.items() if not interface)
    if missing:
        text = f"no interface carries its address in {', '.join(missing)}"
        yield Check("interfaces", name, Result.FAIL, text, "ip address")
    elif len(set(used.values())) < len(used):
        text = "networks share an interface: " + ", ".join(f"{n} {i}" for n, i in used.items())
        yield Check("interfaces", name, Result.WARN, text)
    else:
        text = ", ".join(f"{network} on {interface}" for network, interface in used.items())
        yield Check("interfaces", name, Result.PASS, text)


def _reach(case: Case, name: str) -> Check:
    """Heartbeats that arrive prove the UDP port; sessions and members prove the store's."""
    status = case.records.server_status.get(name)
    heartbeats = status.heartbeats if status else {}
    lost = sorted(
        f"{peer} on {network}"
        for peer, paths in heartbeats.items()
        for network, state in paths.items()
        if state != HEARD and peer in case.live
    )
    if lost:
        text = f"does not hear {', '.join(lost)}: cable, firewall (UDP) or another cluster key"
        return Check("ports", name, Result.FAIL, text, f"clusterctl describe server/{name}")
    return Check("ports", name, Result.PASS, "hears every live server on every network")


def _clocks(case: Case) -> Iterator[Check]:
    for name, facts in case.facts.items():
        offsets = {s: o for s, o in facts.clock_offsets.items() if s in case.live and s != name}
        if not offsets:
            continue
        worst = max(offsets, key=lambda server: abs(offsets[server]))
        gap = abs(offsets[worst])
        text = f"clocks differ by {gap:.1f} s at most (from {worst}'s)"
        result = (
            Result.FAIL
            if gap > CLOCK_FAIL_S
            else Result.WARN
            if gap > CLOCK_WARN_S
            else Result.PASS
        )
        sync = "" if result is Result.PASS else "timedatectl status"
        why = "" if result is Result.PASS else ": certificates and logs need the same time"
        yield Check("clock", name, result, text + why, sync)


def _real_time(case: Case) -> Iterator[Check]:
    for name, facts in case.facts.items():
        if facts.realtime:
            yield Check("real-time", name, Result.PASS, "the pulse has its real-time priority")
        else:
            text = "no real-time priority: a busy machine can look dead; use profile no-realtime"
            yield Check("real-time", name, Result.WARN, text)


def _certificates(case: Case) -> Iterator[Check]:
    for name, facts in case.facts.items():
        if not facts.certificates:
            continue
        first = min(facts.certificates, key=lambda each: facts.certificates[each])
        days = (facts.certificates[first] - case.wall) / 86400
        text = f"certificate {first} " + (f"holds {days:.0f} days" if days > 0 else "has expired")
        result = (
            Result.FAIL if days <= 0 else Result.WARN if days < CERTIFICATE_DAYS else Result.PASS
        )
        renew = "" if result is Result.PASS else "clusterctl cert renew"
        yield Check("certificates", name, result, text, renew)


def _watchdogs(case: Case) -> Iterator[Check]:
    """Those that specs name; a server without one is no mistake."""
    for name in case.live:
        spec = case.specs.servers[name].spec.watchdog
        if spec is None:
            continue
        armed = case.records.sessions[name].watchdog_s
        if armed:
            text = f"armed: it resets the server after {armed:g} s without feeding"
            yield Check("watchdog", name, Result.PASS, text)
        else:
            text = f"{spec.device} is not armed: nothing ends this server when its kernel hangs"
            look = f"clusterctl events --server {name} --name watchdog_failed"
            yield Check("watchdog", name, Result.FAIL, text, look)


def _boot_time(case: Case) -> Iterator[Check]:
    timing = case.timing
    if timing is None:
        return
    for name, facts in case.facts.items():
        if facts.boot_s is None:
            continue
        ttl = timing.session_ttl
        text = f"needs {facts.boot_s:.0f} s to boot; sessions live {ttl:g} s"
        if facts.boot_s < ttl:
            text += ": a quick restart is known by its boot id, not by its silence"
        yield Check("boot-time", name, Result.PASS, text)


_BY_MIRROR = {
    MirrorState.IN_SYNC: Result.PASS,
    MirrorState.NEW: Result.WARN,
    MirrorState.COPYING: Result.WARN,
}
"""The rest has one side at most that could serve."""


def _mirrors(case: Case) -> Iterator[Check]:
    for view in mirrors_in(case.specs, case.records):
        result = _BY_MIRROR.get(view.state, Result.FAIL)
        if view.state is MirrorState.STOPPED and len(view.holders) > 1:
            result = Result.PASS
        text = f"mirror {view.name}: {'; '.join((view.state.value, *view.reasons))}"
        if view.progress is not None:
            text += f" ({view.progress.percent:.0f} %): until then no failover"
        next_command = "" if result is Result.PASS else view.next_command
        yield Check("mirrors", "cluster", result, text, next_command)


CHECKS: tuple[Callable[[Case], Iterator[Check]], ...] = (
    _quorum,
    _witness,
    _space,
    _coordinator,
    _cordons,
    _fencing,
    _timing,
    _paths,
    _clocks,
    _certificates,
    _watchdogs,
    _real_time,
    _boot_time,
    _mirrors,
)
