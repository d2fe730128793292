"""A long run goes on where it was ended, and what it tells can be used."""

import subprocess
import sys
from pathlib import Path

from tests.simulation.progress import Finished, Progress

PROJECT = Path(__file__).parents[2]


def test_a_line_that_was_cut_off_is_played_again_and_hurts_no_later_one(tmp_path: Path) -> None:
    file = tmp_path / "finished"
    Progress(file).add(Finished(1, 3, None, "abc"))
    file.write_text(file.read_text() + '{"seed": 2, "serv')
    again = Progress(file)
    assert set(again.done) == {(1, 3)}
    again.add(Finished(2, 3, "no_orphan: it runs", "abd"))
    assert set(Progress(file).done) == {(1, 3), (2, 3)}
    assert Progress(file).commits() == ["abc", "abd"]


def test_runs_without_a_guard_are_other_runs(tmp_path: Path) -> None:
    file = tmp_path / "finished"
    Progress(file, "proof").add(Finished(1, 3, None, "abc", "proof"))
    assert not Progress(file).done
    assert Progress(file, "proof").done


def _simulation(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_missing_guard_is_found_told_resumed_and_made_small(tmp_path: Path) -> None:
    """A server that only stands still is taken for proven stopped."""
    file = str(tmp_path / "finished")
    broken = ("--seeds", "1:2", "--size", "3", "--without", "proof", "--resume", file)
    first = _simulation(*broken)
    assert first.returncode == 1, first.stderr
    assert "seed 1 (3 servers) at " in first.stdout
    assert "proof" in first.stdout
    assert "(1 with 3 servers); 1 of 1 failed" in first.stdout
    again = _simulation(*broken)
    assert "1 seeds were run before" in again.stdout
    assert "0 seeds in" in again.stdout
    assert again.returncode == 1
    told = next(line for line in first.stdout.splitlines() if line.strip().startswith("small:"))
    small = _simulation(*told.split("tests.simulation ")[1].split())
    assert small.returncode == 1
    faults = [line for line in small.stdout.splitlines() if not line.startswith("seed ")]
    assert 1 <= len(faults) <= 4, small.stdout


def test_bad_arguments_are_one_line(tmp_path: Path) -> None:
    for arguments in (("--seeds", "8"), ("--seeds", "9:9"), ("--jobs", "0"), ("--shrink",)):
        said = _simulation(*arguments)
        assert said.returncode == 2
        assert "Traceback" not in said.stderr
