"""Each checker finds what it is for: a checker that never complains proves nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.faults import checks, history, witness
from tests.faults.collecting import Tail, numbers_in, traceback_lines
from tests.faults.history import Line, gaps
from tests.integration.lab_under_test import eventually


def life(server: str, epoch: int, began: float, ended: float, *, clean: bool = False) -> list[Line]:
    """A witness that beats once a second."""
    beats = [Line(t, t, server, epoch, "beat") for t in range(int(began) + 1, int(ended) + 1)]
    end = [Line(ended, ended, server, epoch, "down")] if clean else []
    return [Line(began, began, server, epoch, "up"), *beats, *end]


def test_a_clean_move_is_no_complaint() -> None:
    history = [*life("n1", 1, 0, 5, clean=True), *life("n2", 2, 6, 9)]
    assert checks.complaints(history) == []
    assert checks.unproven_takeovers(history, []) == []


def test_two_servers_at_the_same_time_are_found() -> None:
    history = [*life("n1", 1, 0, 7), *life("n2", 2, 6, 9)]
    history.sort(key=lambda line: line.t)
    assert len(checks.overlaps(history)) == 1


def test_an_old_owner_that_comes_back_later_is_found() -> None:
    history = [*life("n1", 1, 0, 5), *life("n2", 2, 6, 9), Line(20, 20, "n1", 1, "beat")]
    assert checks.overlaps(history)
    assert checks.falling_epochs(history)


def test_the_same_group_twice_on_one_server_is_found() -> None:
    second = [Line(line.t, line.wall, "n1", 1, line.event, pid=2) for line in life("n1", 1, 3, 4)]
    assert len(checks.overlaps([*life("n1", 1, 0, 5), *second])) == 1


def test_two_groups_do_not_disturb_each_other() -> None:
    other = [Line(line.t, line.wall, "n2", 1, "beat", "db") for line in life("n2", 1, 0, 5)]
    assert checks.complaints([*life("n1", 1, 0, 5), *other]) == []


def test_an_epoch_that_falls_is_found_even_without_overlap() -> None:
    history = [*life("n1", 2, 0, 5, clean=True), *life("n2", 1, 6, 9)]
    assert checks.overlaps(history) == []
    assert checks.falling_epochs(history)


def test_a_write_that_was_late_in_the_file_is_found_although_its_time_is_old() -> None:
    history = [*life("n1", 1, 0, 5), *life("n2", 2, 7, 9), Line(6, 6, "n1", 1, "beat")]
    assert checks.falling_epochs(history)


def test_an_epoch_on_two_servers_is_found() -> None:
    history = [*life("n1", 1, 0, 5, clean=True), *life("n2", 1, 6, 9)]
    assert checks.reused_epochs(history)


def test_a_takeover_without_a_fence_is_found() -> None:
    history = [*life("n1", 1, 0, 5), *life("n2", 2, 8, 9)]
    fence = {"event": "fence_confirmed", "server": "n1", "at_wall": 6.0}
    assert checks.unproven_takeovers(history, [fence]) == []
    assert checks.unproven_takeovers(history, [])
    assert checks.unproven_takeovers(history, [{**fence, "at_wall": 8.5}]), "after the takeover"
    assert checks.unproven_takeovers(history, [{**fence, "at_wall": 4.0}]), "it ran after that"
    assert checks.unproven_takeovers(history, [{**fence, "server": "n3"}]), "another server"
    assert checks.unproven_takeovers(history, [{**fence, "event": "fence_failed"}])


def test_a_release_counts_for_its_own_server_group_and_epoch_only() -> None:
    history = [*life("n1", 3, 0, 5), *life("n2", 4, 8, 9)]
    release = {"event": "group_released", "by": "n1", "group": "web", "epoch": 3, "at_wall": 6.0}
    assert checks.unproven_takeovers(history, [release]) == []
    for wrong in ({"by": "n3"}, {"group": "db"}, {"epoch": 2}, {"at_wall": 4.0}):
        assert checks.unproven_takeovers(history, [{**release, **wrong}])


def test_a_restart_in_place_needs_no_fence() -> None:
    again = [Line(line.t, line.wall, "n1", 1, line.event, pid=2) for line in life("n1", 1, 6, 9)]
    assert checks.unproven_takeovers([*life("n1", 1, 0, 5), *again], []) == []
    assert checks.complaints([*life("n1", 1, 0, 5), *again]) == []


def test_a_history_is_read_without_its_unfinished_last_line() -> None:
    whole = [line.to_json() for line in life("n1", 1, 0, 2)]
    assert history.parse("\n".join([*whole, '{"t": 3'])) == life("n1", 1, 0, 2)


def test_the_witness_writes_what_the_checkers_read(tmp_path: Path) -> None:
    reader = history.Reader(tmp_path / "history")
    environment = {"CLUSTER_SERVER": "n1", "CLUSTER_GROUP": "web", "CLUSTER_EPOCH": "7"}
    process = subprocess.Popen(
        [sys.executable, "-S", witness.__file__, str(tmp_path)], env={**os.environ, **environment}
    )
    try:
        eventually(lambda: len(history.told(reader.read(), "ack")) > 2, "it writes")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait(10)
    lines = reader.read()
    (run,) = history.runs(lines)
    assert (run.server, run.epoch, run.clean, run.pid) == ("n1", 7, True, process.pid)
    file = numbers_in(tmp_path, "web")
    assert checks.complaints([*lines, file]) == []
    assert checks.lost_numbers([*lines, file]) == []
    assert file.more["ranges"][0][:1] == [1]


def test_a_witness_of_an_older_epoch_is_refused_by_the_register(tmp_path: Path) -> None:
    (tmp_path / "register-web").write_text(f"{9:020d} {4:020d}\n")
    reader = history.Reader(tmp_path / "history")
    environment = {"CLUSTER_SERVER": "n1", "CLUSTER_GROUP": "web", "CLUSTER_EPOCH": "7"}
    process = subprocess.Popen(
        [sys.executable, "-S", witness.__file__, str(tmp_path)], env={**os.environ, **environment}
    )
    try:
        eventually(lambda: bool(history.told(reader.read(), "register_refused")), "it is refused")
    finally:
        process.kill()
        process.wait(10)
    assert checks.register_violations(reader.read())
    assert history.told(reader.read(), "ack") == []


# -- each check of a campaign, on a history that must fail it ------------------------------------


def said(t: float, event: str, *, group: str = "", server: str = "", **more: Any) -> Line:
    """A line that no witness wrote."""
    return Line(t, t, server, 0, event, group, 0, more)


def wrote(t: float, epoch: int, event: str, server: str = "n1", **more: Any) -> Line:
    return Line(t, t, server, epoch, event, "web", 1, more)


def test_a_write_that_the_register_refused_is_found() -> None:
    good = [wrote(1, 1, "register", serial=1), wrote(2, 2, "register", "n2", serial=2)]
    assert checks.register_violations(good) == []
    late = wrote(3, 1, "register_refused", seen=2)
    assert "n1 was refused" in checks.register_violations([*good, late])[0]


def test_a_register_that_falls_or_counts_twice_is_found() -> None:
    first = wrote(1, 2, "register", serial=1)
    assert checks.register_violations([first, wrote(2, 1, "register", serial=2)])
    assert checks.register_violations([first, wrote(2, 2, "register", serial=1)])


def test_a_lost_acknowledged_number_is_found() -> None:
    acks = [wrote(1, 1, "ack", number=1), wrote(2, 2, "ack", number=2)]

    def lost(*ranges: list[int], t: float = 3.0) -> list[str]:
        return checks.lost_numbers([*acks, said(t, "file", group="web", ranges=list(ranges))])

    assert lost([1, 1, 1], [2, 5, 2]) == []
    assert lost([1, 1, 1], t=1.5) == [], "the second was not acknowledged yet"
    assert lost([1, 1, 1]), "the second is not there"
    assert lost([1, 2, 1]), "the second is there from another owner"
    assert lost([1, 1, 1], [1, 2, 2]), "the first was overwritten"
    assert lost([1, 1, 2], [2, 2, 1]), "a late writer"


def test_a_takeover_from_a_server_that_was_not_switched_off_is_found() -> None:
    history = [*life("n1", 1, 0, 5), *life("n2", 2, 8, 9)]
    off = said(6, "power", server="n1", power="off")
    assert checks.unfenced_takeovers([*history, off]) == []
    assert checks.unfenced_takeovers(history)
    for wrong in (
        said(4, "power", server="n1", power="off"),
        said(8.5, "power", server="n1", power="off"),
        said(6, "power", server="n3", power="off"),
        said(6, "power", server="n1", power="stopped"),
    ):
        assert checks.unfenced_takeovers([*history, wrong]), wrong


def test_a_takeover_after_a_release_of_that_epoch_needs_no_fence() -> None:
    history = [*life("n1", 1, 0, 5), *life("n2", 2, 8, 9)]
    assert not checks.unfenced_takeovers(
        [*history, said(9, "released", server="n1", of="web", at_epoch=1)]
    )
    for wrong in ({"of": "db", "at_epoch": 1}, {"of": "web", "at_epoch": 2}):
        assert checks.unfenced_takeovers([*history, said(9, "released", server="n1", **wrong)])


def test_lost_and_half_applied_specs_are_found() -> None:
    applied = said(1, "applied", client="x", number=4, revision=7)

    def judged(*numbers: int, revisions: dict[str, str] | None = None) -> list[str]:
        kept = {"7": "x 4"} if revisions is None else revisions
        read = said(2, "read", client="x", numbers=list(numbers), revisions=kept)
        return checks.lost_specs([applied, read])

    assert judged(4, 4) == []
    assert judged(5, 5) == [], "an unanswered one may have happened"
    assert judged(4, 5), "by half"
    assert judged(3, 3), "lost"
    assert judged(4, 4, revisions={"6": "y 2", "8": "y 3"}), "its revision is lost"
    assert judged(4, 4, revisions={"7": "y 3"}), "its revision is another's"
    assert judged(4, 4, revisions={"9": "y 3"}) == [], "too old to be kept"


def test_a_spec_that_was_read_and_is_gone_later_is_found() -> None:
    reads = [said(t, "read", client="x", numbers=[n, n], revisions={}) for t, n in ((1, 5), (2, 4))]
    assert checks.lost_specs(reads)


def test_a_cluster_that_does_not_recover_is_found() -> None:
    whole = said(5, "whole", round=1)
    assert checks.stuck([*life("n1", 1, 0, 5), whole]) == []
    assert checks.stuck([said(5, "not_whole", round=1, patience_s=60.0, what="web is blocked")])
    assert checks.stuck([*life("n1", 1, 0, 1), *life("n1", 1, 90, 91), whole]), "it says so only"
    assert checks.stuck([*life("n1", 1, 50, 60), whole])


def test_a_traceback_is_found(tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    log.write_text(
        "all is well\nTraceback (most recent call last):\n  File x\nKeyError: 'a'\nnext\n"
    )
    tail = Tail(log)
    found = list(traceback_lines("n1", tail))
    assert [line.more["text"] for line in found] == ["KeyError: 'a'"]
    assert checks.tracebacks(found)
    assert list(traceback_lines("n1", tail)) == [], "each once"


def test_every_check_has_passed_a_good_history() -> None:
    history = [
        *life("n1", 1, 0, 5),
        said(6, "power", server="n1", power="off"),
        *life("n2", 2, 8, 20),
        said(19, "whole", round=1),
        said(19, "file", group="web", ranges=[]),
    ]
    assert checks.violations(history) == []


def test_a_condensed_history_is_judged_the_same() -> None:
    beats = [wrote(t / 50, 1, "beat") for t in range(500)]
    other = [Line(12 + t / 50, 0, "n2", 2, "beat", "web", 1) for t in range(500)]
    lines = [*beats, said(11, "power", server="n1", power="off"), *other]
    small = history_of(lines)
    assert len(small) < 10
    assert checks.violations(small) == checks.violations(lines) == []
    assert list(gaps(small, "web", 0.5)) == list(gaps(lines, "web", 0.5))
    overlapping = [*beats, Line(5, 0, "n2", 2, "up", "web", 1), *other]
    assert checks.overlaps(history_of(overlapping))


def history_of(lines: list[Line]) -> list[Line]:
    return history.condensed(sorted(lines, key=lambda line: line.t))
