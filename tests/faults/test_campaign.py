"""The campaign of real faults: its schedule, its arithmetic, its picture; and one short run."""

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.faults import checks, recovery, report, timeline
from tests.faults.__main__ import run
from tests.faults.history import MACHINE, Line
from tests.faults.kinds.kind import all_kinds
from tests.faults.schedule import rounds
from tests.faults.test_checks import life, said
from tests.integration.lab_under_test import missing

KINDS = list(all_kinds().values())


def faulty_history() -> list[Line]:
    """n1 dies at 5, n2 takes over at 8; then n2's BMC is dead from 20 to 30 and it dies, too."""
    return sorted(
        [
            *life("n1", 1, 0, 5),
            said(5, "fault", round=1, index=0, kind="crash", targets=["n1"], detail=""),
            said(5, "power", server="n1", power="off"),
            said(7, "healed", round=1, index=0, kind="crash"),
            said(7, "power", server="n1", power="on"),
            *life("n2", 2, 8, 20),
            said(11, "whole", round=1),
            said(
                20,
                "fault",
                round=2,
                index=0,
                kind="bmc-dead",
                targets=["n2"],
                detail="",
                blocked="no BMC",
            ),
            said(30, "healed", round=2, index=0, kind="bmc-dead"),
            said(31, "power", server="n2", power="off"),
            *life("n1", 3, 32, 40),
            said(40, "whole", round=2),
        ],
        key=lambda line: line.t,
    )


@pytest.fixture(autouse=True)
def beats_are_a_second_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "OUTAGE_S", 1.5)


def test_a_seed_decides_the_schedule() -> None:
    first = list(itertools.islice(rounds(7, KINDS, 3), 160))
    assert first == list(itertools.islice(rounds(7, KINDS, 3), 160))
    assert first != list(itertools.islice(rounds(8, KINDS, 3), 160))
    combined = [each for each in first if len(each.faults) > 1 or each.move_s is not None]
    assert 20 < len(combined) < 60
    alone = Counter(each.faults[0].kind for each in first if each not in combined)
    assert set(alone) == {kind.name for kind in KINDS}
    assert max(alone.values()) - min(alone.values()) <= 1, "every kind as often as every other"
    assert all(0.0 < fault.hold_s <= 30.0 for each in first for fault in each.faults)


def test_faults_that_stand_alone_are_alone() -> None:
    alone = {kind.name for kind in KINDS if kind.alone}
    for each in itertools.islice(rounds(7, KINDS, 5), 200):
        names = [fault.kind for fault in each.faults]
        assert len(names) == 1 or not alone.intersection(names)


def test_outages_are_counted_from_the_fault_or_where_nothing_could_be_done_from_its_end() -> None:
    crash, dead = recovery.outages(faulty_history())
    assert (crash.kind, crash.seconds, crash.blocked) == ("crash", 3.0, False)
    assert (dead.kind, dead.seconds, dead.blocked) == ("bmc-dead", 2.0, True)
    (row,) = recovery.table(recovery.toll(faulty_history()), blocked=True)
    assert (row.kind, row.outages, row.p95_s) == ("bmc-dead", 1, 2.0)


def test_a_silence_of_the_whole_machine_is_no_outage() -> None:
    """The other process is silent from 5.1 to 7.9, too; but not from 20.5 to 22.5."""
    beats = [t / 20 for t in range(1000) if not 102 < t < 158]
    machine = [replace(said(t, "beat"), group=MACHINE) for t in beats]
    assert recovery.stalls(machine) == [(5.1, 7.9)]
    (left,) = recovery.outages([*faulty_history(), *machine])
    assert left.kind == "bmc-dead"


def test_campaigns_are_counted_together() -> None:
    paid = recovery.toll(faulty_history(), faulty_history())
    assert [(r.kind, r.rounds, r.outages) for r in recovery.table(paid, blocked=False)] == [
        ("bmc-dead", 2, 0),
        ("crash", 2, 2),
    ]
    assert recovery.total(paid, blocked=True).longest_s == 2.0
    assert "| crash | 2 | 2 | 3.00 | 3.00 | 3.00 |" in report.together(*[faulty_history()] * 2)


def test_rounds_with_two_faults_are_counted_apart() -> None:
    second = said(6, "fault", round=1, index=1, kind="lossy", targets=["n3"], detail="")
    assert recovery.kind_of([*faulty_history(), second])[1] == recovery.COMBINED


def test_the_percentile_is_the_nearest_rank() -> None:
    assert recovery.percentile([], 0.95) == 0.0
    assert recovery.percentile([5.0, 1.0], 0.95) == 5.0
    assert recovery.percentile([float(n) for n in range(100)], 0.95) == 95.0


def test_the_picture_shows_lives_faults_and_outages() -> None:
    text = timeline.draw(faulty_history(), ["n1", "n2", "n3"], "three <servers>")
    picture = ET.fromstring(text)  # noqa: S314 (our own)
    titles = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert "crash" in titles
    assert "web away for 3.00 s" in titles
    colours = [each.get("fill") for each in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert colours.count(timeline.COLOURS[0]) == 4, "three lives and the legend"


def test_the_report_says_what_was_broken_and_for_how_long() -> None:
    about = report.About(3, 7, "abc", "make faults", "picture.svg")
    page = report.write(about, faulty_history())
    assert "no violation" in page
    assert "| crash | 1 | 1 | 3.00 | 3.00 | 3.00 |" in page
    assert "Missed: crash 3.00 s." in page, "what had to wait for its healing does not count"
    assert "| 2 | 20 s | bmc-dead (n2) | web 2.00 after healing |" not in page, "no round_begun"
    bad = [*faulty_history(), said(50, "not_whole", round=3, patience_s=90.0, what="web is away")]
    assert "**1 violations**" in report.write(about, bad)


@pytest.mark.timeout(600)  # a minute on a machine that has nothing else to do
@pytest.mark.faults
@pytest.mark.integration
@pytest.mark.skipif(bool(missing()), reason=missing() or "a lab can be made")
def test_a_partition_and_a_crash_leave_a_good_history(tmp_path: Path) -> None:
    kinds = all_kinds()
    chosen = [kinds["partition-one"], kinds["crash"]]
    plan = itertools.islice(rounds(1, chosen, 3, combined=0.0), 2)
    found = run(tmp_path, 3, plan, 600.0)
    assert checks.violations(found) == []
    assert {line.more["kind"] for line in found if line.event == "fault"} == {
        "partition-one",
        "crash",
    }
