"""The dead-man ends real processes, and a new pulse inherits its list and its deadline."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from reconciler.pulse import watch
from reconciler.pulse.emergency import check_entry, end_all, is_over
from reconciler.pulse.watch import DeadMan

TTL, D = 10.0, 6.0


def start_time(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


@contextlib.contextmanager
def process(*argv: str) -> Iterator[tuple["subprocess.Popen[str]", dict[str, object]]]:
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as started:
        entry = {"kind": "pid", "pid": started.pid, "start_time": start_time(started.pid)}
        yield started, entry
        started.kill()


def fire(dead_man: DeadMan, now: float) -> int:
    dead_man.judge(now, D, hears_majority=False)
    return len(dead_man.judge(now + D + 0.1, D, hears_majority=False))


def test_it_ends_what_is_registered() -> None:
    with process("sleep", "1000") as (workload, entry):
        dead_man = DeadMan(None, 0.0)
        dead_man.register([entry], 0.0)
        assert fire(dead_man, 100.0) == 1
        assert workload.wait(timeout=10) == -9


def test_what_was_ended_already_is_not_told_each_second() -> None:
    with process("sleep", "1000") as (workload, entry):
        dead_man = DeadMan(None, 0.0)
        dead_man.register([entry], 0.0)
        assert fire(dead_man, 100.0) == 1
        workload.wait(timeout=10)
        assert not dead_man.judge(120.0, D, hears_majority=False)
        assert dead_man.fired == 1


def test_a_whole_family_goes_with_its_head() -> None:
    script = "sleep 1000 & (sleep 1000 & echo $!; wait) & wait"
    with process("sh", "-c", script) as (head, entry):
        assert head.stdout is not None
        grandchild = int(head.stdout.readline())
        assert [outcome.error for outcome in end_all([entry])] == [""]
        assert head.wait(timeout=10) == -9
        with contextlib.suppress(FileNotFoundError):
            state = Path(f"/proc/{grandchild}/stat").read_text().rpartition(")")[2].split()[0]
            assert state in "ZX"


def test_a_reused_pid_is_left_alone() -> None:
    with process("sleep", "1000") as (workload, entry):
        end_all([{**entry, "start_time": 1}])
        assert workload.poll() is None


def test_one_failure_does_not_keep_the_others_alive() -> None:
    broken = {"kind": "address", "address": "nonsense", "interface": "lo"}
    with process("sleep", "1000") as (workload, entry):
        outcomes = end_all([broken, entry])
        assert [bool(outcome.error) for outcome in outcomes] == [True, False]
        assert workload.wait(timeout=10) == -9


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"kind": "pid", "pid": 1},
        {"kind": "pid", "pid": "1", "start_time": 1},
        {"kind": "address", "address": "10.0.0.1/24"},
        {"kind": "machine"},
        {"kind": "pid", "pid": 1, "start_time": 1, "policy": "perhaps"},
    ],
)
def test_an_entry_that_could_not_be_ended_is_refused_at_once(entry: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="kill list"):
        check_entry(entry)


def test_a_new_pulse_inherits_list_and_deadline(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with process("sleep", "1000") as (workload, entry):
        before = DeadMan(str(state), 100.0)
        before.bind("boot-1")
        before.prove(100.0 + TTL, TTL, 100.0)
        before.register([entry], 100.0)
        assert state.stat().st_mode & 0o077 == 0
        after = DeadMan(str(state), 104.0)
        after.bind("boot-1")
        assert after.summary(104.0)["proof_age"] == 4.0
        assert fire(after, 104.0) == 1
        assert workload.wait(timeout=10) == -9


def test_a_new_pulse_knows_since_when_the_server_is_alone(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    with process("sleep", "1000") as (workload, entry):
        pulse = DeadMan(state, 100.0)
        pulse.bind("boot-1")
        pulse.prove(100.0 + TTL, TTL, 100.0)
        pulse.register([entry], 100.0)
        for now in (101.0, 103.0, 105.0):  # killed again and again
            pulse.judge(now, D, hears_majority=False)
            pulse = DeadMan(state, now + 0.5)
            pulse.bind("boot-1")
            pulse.judge(now + 0.5, D, hears_majority=None)
        assert not pulse.judge(106.9, D, hears_majority=False)
        assert len(pulse.judge(107.1, D, hears_majority=False)) == 1
        assert workload.wait(timeout=10) == -9


def test_a_new_pulse_that_hears_a_majority_is_not_alone(tmp_path: Path) -> None:
    before = DeadMan(str(tmp_path / "state"), 100.0)
    before.bind("boot-1")
    before.register([{"kind": "pid", "pid": 1, "start_time": 1}], 100.0)
    before.judge(101.0, D, hears_majority=False)
    after = DeadMan(str(tmp_path / "state"), 102.0)
    after.bind("boot-1")
    assert after.summary(102.0)["isolated_for"] == 1.0
    after.judge(102.5, D, hears_majority=True)
    assert DeadMan(str(tmp_path / "state"), 103.0).summary(103.0)["isolated_for"] is None


def test_another_boots_list_is_forgotten(tmp_path: Path) -> None:
    before = DeadMan(str(tmp_path / "state"), 100.0)
    before.bind("boot-1")
    before.register([{"kind": "pid", "pid": 1, "start_time": 1}], 100.0)
    after = DeadMan(str(tmp_path / "state"), 104.0)
    after.bind("boot-2")
    assert after.summary(104.0)["armed"] == 0


def test_another_boots_state_is_a_first_start(tmp_path: Path) -> None:
    ahead = {"schema": 1, "boot_id": "b", "proven_at": 1e9, "entries": []}
    (tmp_path / "state").write_text(json.dumps(ahead))
    assert DeadMan(str(tmp_path / "state"), 50.0).summary(50.0)["proof_age"] == 0.0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 1}'])
def test_an_unreadable_state_proves_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "state").write_text(content)
    dead_man = DeadMan(str(tmp_path / "state"), 50.0)
    assert dead_man.summary(50.0)["proof_age"] == 50.0
    dead_man.prove(49.0 + TTL, TTL, 50.0)
    assert dead_man.summary(50.0)["proof_age"] == 1.0


def test_only_what_must_stop_is_ended_while_others_are_heard() -> None:
    with process("sleep", "1000") as (kept, keep), process("sleep", "1000") as (other, stop):
        dead_man = DeadMan(None, 0.0)
        dead_man.register([keep, {**stop, "policy": "stop"}], 0.0)
        assert not dead_man.judge(D, D, hears_majority=True)
        assert len(dead_man.judge(D + 0.1, D, hears_majority=True)) == 1
        assert other.wait(timeout=10) == -9
        assert kept.poll() is None


def test_the_watchdog_is_fed_only_once_what_must_end_is_seen_ended() -> None:
    with process("sleep", "1000") as (workload, entry):
        dead_man = DeadMan(None, 0.0)
        dead_man.register([{**entry, "policy": "stop"}], 0.0)
        assert dead_man.may_feed()
        # Someone whom no signal reaches, as in a dead disk's wait.
        with mock.patch.object(watch, "end_all", return_value=[]):
            dead_man.judge(D + 0.1, D, hears_majority=True)
            assert not dead_man.may_feed()
        dead_man.judge(D + 1.2, D, hears_majority=True)
        workload.wait(timeout=10)
        assert dead_man.may_feed()


def test_an_address_is_over_when_the_kernel_has_it_no_more() -> None:
    gone = {"kind": "address", "address": "192.0.2.77/32", "interface": "lo"}
    assert is_over(gone)
    assert not is_over({**gone, "address": "nonsense"})
    assert is_over({"kind": "cgroup", "path": "/sys/fs/cgroup/nowhere-at-all/cgroup.kill"})


def test_a_proof_never_makes_the_deadline_shorter_or_lies_ahead() -> None:
    dead_man = DeadMan(None, 100.0)
    dead_man.prove(108.0 + TTL, TTL, 110.0)
    dead_man.prove(105.0 + TTL, TTL, 111.0)  # an older renewal that arrives later
    assert dead_man.summary(112.0)["proof_age"] == 4.0
    dead_man.prove(500.0 + TTL, TTL, 112.0)
    assert dead_man.summary(112.0)["proof_age"] == 0.0
    dead_man.prove(None, TTL, 113.0)
    assert dead_man.summary(113.0)["proof_age"] == 1.0


def test_while_something_may_run_unlisted_an_overdue_proof_ends_the_feeding(tmp_path: Path) -> None:
    kept = str(tmp_path / "pulse.json")
    dead_man = DeadMan(kept, 100.0)
    dead_man.prove(100.0 + TTL, TTL, 100.0)
    dead_man.hold(True, 100.0)
    dead_man.judge(100.0 + D, D, hears_majority=True)
    assert dead_man.may_feed()
    heir = DeadMan(kept, 103.0)  # a new pulse holds it, too
    assert heir.is_armed
    for pulse in (dead_man, heir):
        pulse.judge(100.0 + D + 0.1, D, hears_majority=True)
        assert not pulse.may_feed()
    dead_man.hold(False, 107.0)  # the agent has seen everything stopped
    dead_man.judge(107.1, D, hears_majority=True)
    assert dead_man.may_feed()


def test_a_damaged_memory_counts_as_something_that_may_run(tmp_path: Path) -> None:
    kept = tmp_path / "pulse.json"
    kept.write_text("{")
    dead_man = DeadMan(str(kept), 100.0)
    dead_man.judge(100.1, D, hears_majority=True)
    assert not dead_man.may_feed()


def test_what_is_inherited_is_judged_before_anything_is_fed(tmp_path: Path) -> None:
    path = str(tmp_path / "pulse.json")
    first = DeadMan(path, 100.0)
    first.bind("boot")
    first.hold(True, 100.0)
    second = DeadMan(path, 200.0)
    assert not second.may_feed(), "it may be overdue, and arming a device can feed it"
    second.prove(210.0, 10.0, 200.0)
    second.judge(200.1, 6.0, True)
    assert second.may_feed()
    assert DeadMan(str(tmp_path / "none.json"), 200.0).may_feed()


def test_a_new_pulse_knows_what_the_disks_say_of_this_boot(tmp_path: Path) -> None:
    path = str(tmp_path / "pulse.json")
    first = DeadMan(path, 100.0)
    first.bind("boot")
    first.promise("quorum", 2, 100.0, 100.0)
    first.promise("quorum", 2, 100.5, 100.5)
    assert DeadMan(path, 101.0).promises == {"quorum": (2, 100.0)}, "not written at each tick"
    first.promise("quorum", 2, 101.1, 101.1)
    first.promise("quorum", 5, 101.2, 101.2)
    assert DeadMan(path, 102.0).promises == {"quorum": (5, 101.2)}
    other = DeadMan(path, 102.0)
    other.bind("another-boot")
    assert other.promises == {}
    first.take_back(["quorum"])
    assert DeadMan(path, 102.0).promises == {}
