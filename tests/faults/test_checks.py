"""Each checker finds what it is for: a checker that never complains proves nothing."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from tests.faults import checks, witness
from tests.faults.checks import Line
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
    whole = [json.dumps(asdict(line)) for line in life("n1", 1, 0, 2)]
    assert checks.parse("\n".join([*whole, '{"t": 3'])) == life("n1", 1, 0, 2)


def test_the_witness_writes_what_the_checkers_read(tmp_path: Path) -> None:
    history = tmp_path / "history"
    environment = {"CLUSTER_SERVER": "n1", "CLUSTER_GROUP": "web", "CLUSTER_EPOCH": "7"}
    process = subprocess.Popen(
        [sys.executable, "-S", witness.__file__, str(history)], env={**os.environ, **environment}
    )
    try:
        eventually(
            lambda: history.exists() and len(checks.parse(history.read_text())) > 2, "it beats"
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait(10)
    (run,) = checks.runs(checks.parse(history.read_text()))
    assert (run.server, run.epoch, run.clean) == ("n1", 7, True)
    assert run.pid == process.pid
