"""Who is blamed, and who must not be. Times are made up: the judge knows no clock."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.pulse.judge import Judge, Settings
from reconciler.pulse.packet import Heartbeat

H, K = 0.05, 4
DETECTION = H * K
PATHS = ("private", "public")


class Bench:
    """One judge (server n1) and hand-fed peers."""

    def __init__(self, peers: tuple[str, ...] = ("n2", "n3"), now: float = 100.0) -> None:
        self.judge = Judge(Settings("demo", "n1", H, K, dict.fromkeys(peers, PATHS)), "me", now)
        self.now = now
        self.sequence = 0

    def beat(self, sender: str = "n2", path: str = "private", **fields: object) -> Heartbeat:
        self.sequence += 1
        beat = Heartbeat("demo", sender, "n1", path, "boot", f"{sender}-start", self.sequence, "me")
        return replace(beat, **fields)  # type: ignore[arg-type]

    def hear(self, beat: Heartbeat, at: float | None = None) -> str | None:
        return self.judge.hear(beat, beat.path, self.now if at is None else at).refused

    def run(self, seconds: float, *speaking: str, paths: tuple[str, ...] = PATHS) -> None:
        """Let time pass in ticks; the peers in `speaking` send on `paths` at each tick."""
        for _ in range(round(seconds / H)):
            due = self.now = self.now + H
            self.judge.woke(self.now, due)
            for sender in speaking:
                for path in paths:
                    self.hear(self.beat(sender, path))
            self.judge.judge(self.now)

    def silent(self) -> set[str]:
        return {name for name, peer in self.judge.peers.items() if peer.silent}

    def suspect(self) -> set[str]:
        return {name for name, peer in self.judge.peers.items() if peer.suspect}


def test_a_server_that_speaks_is_not_suspect() -> None:
    bench = Bench()
    bench.run(10, "n2", "n3")
    assert not bench.suspect()
    assert not bench.silent()


def test_two_missed_make_suspect_and_all_missed_make_silent() -> None:
    bench = Bench()
    bench.run(1, "n2", "n3")
    bench.run(2 * H, "n3")
    assert bench.suspect() == {"n2"}
    assert not bench.silent()
    bench.run(2 * H, "n3")
    assert bench.silent() == {"n2"}


def test_it_is_calm_only_while_everybody_is_heard_and_nobody_reports_a_doubt() -> None:
    bench = Bench()
    assert not bench.judge.is_calm
    bench.run(1, "n2", "n3")
    assert bench.judge.is_calm
    bench.hear(bench.beat("n3", suspect=frozenset({"n2"})))
    assert not bench.judge.is_calm
    bench.run(H, "n2", "n3")
    assert bench.judge.is_calm
    bench.run(2 * H, "n3")
    assert not bench.judge.is_calm


def test_one_path_alive_is_alive_and_the_other_shows_its_misses() -> None:
    bench = Bench()
    bench.run(1, "n2", "n3")
    bench.run(1, "n2", "n3", paths=("public",))
    assert not bench.suspect()
    assert bench.judge.missed("n2", "private", bench.now) >= K
    assert bench.judge.missed("n2", "public", bench.now) == 0


def test_a_silent_server_that_speaks_again_is_heard_at_once() -> None:
    bench = Bench()
    bench.run(1, "n3")
    assert bench.silent() == {"n2"}
    assert bench.hear(bench.beat("n2")) is None
    assert bench.judge.judge(bench.now)
    assert not bench.silent()


def test_nobody_is_blamed_before_the_first_detection_time_is_over() -> None:
    bench = Bench()
    bench.run(DETECTION - H)
    assert not bench.suspect()
    bench.run(H)
    assert bench.silent() == {"n2", "n3"}


def test_after_a_pause_of_our_own_nobody_is_blamed() -> None:
    bench = Bench()
    bench.run(1, "n2", "n3")
    due = bench.now + H
    bench.now += 30
    bench.judge.woke(bench.now, due)
    bench.judge.judge(bench.now)
    assert not bench.suspect()
    assert bench.judge.paused(bench.now)
    assert bench.judge.late(bench.now) > 29
    bench.run(DETECTION - H)
    assert not bench.suspect()
    bench.run(H)
    assert bench.silent() == {"n2", "n3"}
    assert not bench.judge.paused(bench.now)


def test_lateness_is_forgotten_after_one_detection_time() -> None:
    bench = Bench()
    bench.judge.woke(bench.now, bench.now - H / 2)
    assert bench.judge.late(bench.now) > 0
    assert bench.judge.late(bench.now + DETECTION * 1.01) == 0
    assert bench.judge.pauses == 0


def test_a_recorded_heartbeat_does_not_keep_a_dead_server_alive() -> None:
    bench = Bench()
    recorded = [bench.beat("n2", "private", sequence=n) for n in range(1, 20)]
    for beat in recorded:
        assert bench.hear(beat) is None
    for _ in range(10):
        bench.run(H, "n3")
        assert bench.hear(recorded[-1]) == "replayed"
        assert bench.hear(recorded[3]) == "replayed"
    assert bench.silent() == {"n2"}


def test_an_older_heartbeat_replayed_on_another_network_is_refused() -> None:
    bench = Bench()
    beat = bench.beat("n2", "private")
    assert bench.judge.hear(beat, "public", bench.now).refused == "not-for-us"


def test_a_heartbeat_for_another_server_or_cluster_or_of_a_stranger_is_refused() -> None:
    bench = Bench()
    assert bench.hear(bench.beat(to="n3")) == "not-for-us"
    assert bench.hear(bench.beat(cluster="other")) == "other-cluster"
    assert bench.hear(bench.beat("n9")) == "unknown-sender"


def test_a_restarted_pulse_counts_only_after_it_echoed_us() -> None:
    bench = Bench()
    bench.run(1, "n2", "n3")
    fresh = {"start": "n2-second", "sequence": 1}
    first = bench.judge.hear(bench.beat("n2", echo=None, **fresh), "private", bench.now)
    assert first.refused == "unproven"
    assert first.answer  # it needs our echo, so it gets it at once
    assert bench.hear(bench.beat("n2", start="n2-second", echo="me", sequence=2)) is None
    assert bench.judge.peers["n2"].start == "n2-second"


def test_the_start_before_last_is_never_accepted_again() -> None:
    bench = Bench()
    old = bench.beat("n2", sequence=10_000)
    bench.run(1, "n2", "n3")
    assert bench.hear(bench.beat("n2", start="n2-second")) is None
    assert bench.hear(old) == "replayed"


def test_recordings_of_unproven_starts_do_not_make_us_flood_the_network() -> None:
    bench = Bench()
    answers = [
        bench.judge.hear(
            bench.beat("n2", start=f"old-{n}", echo="long-ago"), "private", bench.now
        ).answer
        for n in range(100)
    ]
    assert answers.count(True) <= 1


def test_a_peers_report_is_its_newest_whatever_path_it_came_on() -> None:
    bench = Bench()
    newer = bench.beat("n2", "public", sequence=6, silent=frozenset({"n3"}), store="no-quorum")
    older = bench.beat("n2", "private", sequence=5, store="quorum", agent_alive=True)
    assert bench.hear(newer) is None
    assert bench.hear(older) is None
    peer = bench.judge.peers["n2"]
    assert (peer.store, peer.silent_there, peer.agent_alive) == ("no-quorum", {"n3"}, False)


def test_an_equal_view_is_no_transition() -> None:
    bench = Bench()
    bench.run(1, "n2", "n3")
    for path in PATHS:
        bench.hear(bench.beat("n2", path))
    assert not bench.judge.judge(bench.now + H)


def test_new_peers_get_their_time_and_known_ones_keep_their_state() -> None:
    bench = Bench(peers=("n2",))
    bench.run(1, "n2")
    both = Settings("demo", "n1", H, K, {"n2": PATHS, "n3": PATHS})
    bench.judge.configure(both, bench.now)
    bench.run(DETECTION - H, "n2")
    assert not bench.suspect() - {"n3"}
    assert not bench.silent()
    bench.run(H, "n2")
    assert bench.silent() == {"n3"}


def test_majority_counts_ourselves_and_is_unknown_after_a_pause() -> None:
    bench = Bench()
    bench.run(1, "n2")
    assert bench.judge.hears_majority(bench.now) is True
    bench.run(1)
    assert bench.judge.hears_majority(bench.now) is False
    bench.judge.woke(bench.now + 5, bench.now)
    assert bench.judge.hears_majority(bench.now + 5) is None


def test_a_single_server_is_its_own_majority() -> None:
    bench = Bench(peers=())
    bench.run(1)
    assert bench.judge.hears_majority(bench.now) is True


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 5, allow_nan=False),  # how long our process is away
            st.integers(1, 12),  # ticks that it then runs in time
            st.floats(0, 1),  # how much of the traffic meanwhile is still in the buffer
        ),
        max_size=12,
    )
)
def test_a_peer_that_always_speaks_is_never_blamed_however_we_are_paused(
    pauses: list[tuple[float, int, float]],
) -> None:
    """The peer sends every H on one path. We drain what had arrived (a full buffer keeps only the
    oldest part), then judge. Pauses up to H are not even noticed, longer ones are."""
    bench = Bench(peers=("n2",))
    sent_until = bench.now
    for away, ticks, kept in pauses:
        for step in range(ticks):
            due = bench.now + H
            bench.now = due + (away if step == 0 else 0.0)
            bench.judge.woke(bench.now, due)
            arrivals = []
            while sent_until + H <= bench.now:
                sent_until += H
                arrivals.append(sent_until)
            lost = away > H and step == 0
            for at in arrivals[: round(len(arrivals) * kept)] if lost else arrivals:
                assert bench.hear(bench.beat("n2"), at) is None
            bench.judge.judge(bench.now)
            assert not bench.suspect()
            assert not bench.silent()


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=80))
def test_silent_exactly_when_nothing_was_heard_for_a_detection_time(heard: list[bool]) -> None:
    bench = Bench(peers=("n2",))
    last = bench.now
    for speaks in heard:
        bench.run(H, *(["n2"] if speaks else []))
        last = bench.now if speaks else last
        quiet = bench.now - last
        assert bool(bench.silent()) == (quiet > DETECTION - H / 2)
