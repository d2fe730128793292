"""Runners with real processes: nothing starts without a permit, nothing is orphaned silently."""

import asyncio
import json
import os
import resource
import signal
import stat
import sys
from pathlib import Path

import pytest

from reconciler.adapters.linux.holders import Line
from reconciler.adapters.linux.runners import LinuxRunners
from reconciler.ports.driver import Permit, PermitExpired
from reconciler.ports.host import HostError, RunnerState, StopPlan, Workload
from reconciler.runner import cgroup, record
from tests.resources.places import expired, permit, permit_for
from tests.runner.processes import marked, until
from tests.runner.workloads import IN_ORDER, NOW, directory, shell, workload


async def test_a_workload_runs_until_it_is_stopped(runners: LinuxRunners, mark: str) -> None:
    await runners.start("web", workload(mark, "sleep", "1000"), permit(3))
    view = await runners.observe("web")
    assert (view.state, view.epoch, view.is_held) == (RunnerState.RUNNING, 3, True)
    assert view.pid in marked(mark)
    await runners.stop("web", 3, IN_ORDER)
    assert not marked(mark)
    assert (await runners.observe("web")).state is RunnerState.ABSENT


async def test_nothing_starts_without_a_permit(runners: LinuxRunners, mark: str) -> None:
    with pytest.raises(PermitExpired):
        await runners.start("web", workload(mark, "sleep", "1000"), expired())
    assert not marked(mark)


async def test_a_permit_that_ends_before_the_fork_starts_nothing(
    runners: LinuxRunners, mark: str, tmp_path: Path
) -> None:
    witness = tmp_path / "witness"
    with pytest.raises(PermitExpired):
        await runners.start("web", workload(mark, "touch", str(witness)), permit_for(1))
    await until(lambda: not _holds_lock(tmp_path), "the holder gave up")
    assert not witness.exists()


async def test_a_permit_that_ends_during_the_fork_leaves_nothing(
    runners: LinuxRunners, mark: str
) -> None:
    with pytest.raises(PermitExpired):
        await runners.start("web", workload(mark, "sleep", "1000"), permit_for(2))
    assert not marked(mark)
    assert (await runners.observe("web")).state is RunnerState.ABSENT


async def test_an_old_word_to_go_is_not_obeyed(
    runners: LinuxRunners, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 0.0])
    monkeypatch.setattr(
        "reconciler.adapters.linux.runners.time.monotonic", lambda: next(clock, 0.0)
    )
    with pytest.raises(HostError, match="too slow"):
        await runners.start("web", workload(mark, "sleep", "1000"), permit())
    assert not marked(mark)


async def test_a_start_that_is_given_up_after_its_word_to_go_never_comes_to_life(
    runners: LinuxRunners, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder has the word but did not get to run yet: "stopped" must not be said before."""
    sent, wanted = asyncio.Event(), [True]
    real = Line.send_now

    def send_now(line: Line, message: dict[str, object]) -> None:
        assert line.holder is not None
        os.kill(line.holder.pid, signal.SIGSTOP)
        loop = asyncio.get_running_loop()
        loop.call_later(0.04, os.kill, line.holder.pid, signal.SIGCONT)
        real(line, message)
        sent.set()

    monkeypatch.setattr(Line, "send_now", send_now)
    permit = Permit(1, lambda: wanted[0])
    start = asyncio.create_task(runners.start("web", workload(mark, "sleep", "1000"), permit))
    await sent.wait()
    wanted[0] = False
    start.cancel()
    await asyncio.gather(start, return_exceptions=True)
    await runners.stop("web", 1, NOW)
    assert (await runners.observe("web")).state is RunnerState.ABSENT
    await asyncio.sleep(0.3)
    assert not marked(mark)


async def test_two_workloads_never_share_a_name(runners: LinuxRunners, mark: str) -> None:
    await runners.start("web", workload(mark, "sleep", "1000"), permit(1))
    with pytest.raises(HostError, match="already"):
        await runners.start("web", workload(mark, "sleep", "1000"), permit(2))
    assert len(marked(mark)) == 1


@pytest.mark.parametrize(
    ("command", "changes", "sentence"),
    [
        (("/no/such/program",), {}, 'can\'t execute "/no/such/program": No such file'),
        (("/etc/hostname",), {}, 'can\'t execute "/etc/hostname"'),
        (("true",), {"directory": "/no/such/place"}, "working directory .* does not exist"),
        (("true",), {"user": "nobody-of-that-name"}, "user or group does not exist"),
    ],
)
async def test_what_can_not_be_executed_is_said_in_a_sentence(
    runners: LinuxRunners,
    mark: str,
    command: tuple[str, ...],
    changes: dict[str, object],
    sentence: str,
) -> None:
    with pytest.raises(HostError, match=sentence):
        await runners.start("web", workload(mark, *command, **changes), permit())
    assert (await runners.observe("web")).state is RunnerState.ABSENT


async def test_an_exit_is_seen_and_its_code_is_kept(runners: LinuxRunners, mark: str) -> None:
    await runners.start("web", shell(mark, "read line < /dev/null; exit 3"), permit())
    while (view := await runners.observe("web")).state is RunnerState.RUNNING:
        await asyncio.wait_for(runners.changed("web", RunnerState.RUNNING), 15)
    assert (view.state, view.exit_code) == (RunnerState.EXITED, 3)


async def test_death_by_a_signal_is_a_negative_code(runners: LinuxRunners, mark: str) -> None:
    await runners.start("web", workload(mark, "sleep", "1000"), permit())
    woken = asyncio.ensure_future(runners.changed("web", RunnerState.RUNNING))
    (pid,) = marked(mark)
    os.kill(pid, signal.SIGKILL)
    await asyncio.wait_for(woken, 15)
    assert (await runners.observe("web")).exit_code == -signal.SIGKILL


async def test_what_a_dead_resident_left_running_is_killed(
    runners: LinuxRunners, mark: str
) -> None:
    await runners.start("web", shell(mark, "setsid sleep 1000 & exit 0"), permit())
    await until(lambda: not marked(mark), "the left process is gone")
    assert (await runners.observe("web")).state is RunnerState.EXITED


async def test_what_a_one_shot_left_running_stays_until_its_stop(
    runners: LinuxRunners, mark: str
) -> None:
    work = shell(mark, "setsid sleep 1000 & exit 0", keep_after_exit=True)
    await runners.start("web", work, permit())
    await asyncio.wait_for(runners.changed("web", RunnerState.RUNNING), 15)
    await until(lambda: len(marked(mark)) == 1, "only the left process is there")
    await runners.stop("web", 1, IN_ORDER)
    assert not marked(mark)


async def test_a_tree_that_ignores_signals_and_leaves_its_session_is_killed(
    runners: LinuxRunners, mark: str
) -> None:
    script = (
        "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 1000 & sleep 1000' & sleep 1000; wait"
    )
    await runners.start("web", shell(mark, script), permit())
    await until(lambda: len(marked(mark)) >= 5, "the whole tree runs")
    await runners.stop("web", 1, StopPlan(grace_s=0.1))
    assert not marked(mark)


async def test_the_stop_command_ends_it_in_order(
    runners: LinuxRunners, mark: str, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    script = f"trap 'echo end > {said}; exit 0' USR1; while :; do sleep 0.01; done"
    await runners.start("web", shell(mark, script), permit())
    pid = (await runners.observe("web")).pid
    plan = StopPlan(command=("/bin/sh", "-c", f"kill -USR1 {pid}"), grace_s=10.0)
    await runners.stop("web", 1, plan)
    assert said.read_text() == "end\n"


async def test_a_stop_command_that_must_succeed_and_fails_is_a_failed_stop(
    runners: LinuxRunners, mark: str
) -> None:
    await runners.start("web", workload(mark, "true", keep_after_exit=True), permit())
    failing = StopPlan(command=("false",), must_succeed=True)
    with pytest.raises(HostError, match="stop command ended with code 1"):
        await runners.stop("web", 1, failing)
    assert (await runners.observe("web")).state is RunnerState.EXITED
    await runners.stop("web", 1, StopPlan(command=("true",), must_succeed=True))
    assert (await runners.observe("web")).state is RunnerState.ABSENT


async def test_a_stop_of_an_older_epoch_is_refused(runners: LinuxRunners, mark: str) -> None:
    await runners.start("web", workload(mark, "sleep", "1000"), permit(5))
    await runners.stop("web", 4, IN_ORDER)
    assert marked(mark)


async def test_secrets_are_neither_written_nor_shown(
    runners: LinuxRunners, mark: str, tmp_path: Path
) -> None:
    work = workload(mark, "sleep", "1000")
    secret = Workload(work.command, {**work.environment, "PASSWORD": "opensesame"})
    assert "opensesame" not in repr(secret)
    await runners.start("web", secret, permit())
    found = record.read(str(directory(tmp_path)))
    assert found is not None
    _is_nowhere("opensesame", tmp_path, found.holder.pid)


async def test_its_output_is_kept_within_bounds(
    runners: LinuxRunners, mark: str, tmp_path: Path
) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do echo line-$i-0123456789; i=$((i+1)); done"
    await runners.start("web", shell(mark, script, log_limit_bytes=8192), permit())
    while (await runners.observe("web")).state is RunnerState.RUNNING:
        await asyncio.wait_for(runners.changed("web", RunnerState.RUNNING), 15)
    assert runners.log_tail("web").endswith("line-2999-0123456789\n")
    sizes = [path.stat().st_size for path in directory(tmp_path).glob("output.log*")]
    assert sum(sizes) <= 2 * (8192 + 65536)


async def test_it_starts_clean(runners: LinuxRunners, mark: str) -> None:
    code = (
        "import os, json, signal; print(json.dumps({"
        "'files': sorted(map(int, os.listdir('/proc/self/fd')))[:-1], 'leads': os.getsid(0) == "
        "os.getpid(), 'policy': os.sched_getscheduler(0), 'variables': sorted(os.environ), "
        "'blocked': len(signal.pthread_sigmask(signal.SIG_BLOCK, ()))}))"
    )
    await runners.start("web", workload(mark, sys.executable, "-I", "-S", "-c", code), permit())
    while (await runners.observe("web")).state is RunnerState.RUNNING:
        await asyncio.wait_for(runners.changed("web", RunnerState.RUNNING), 15)
    said = json.loads(runners.log_tail("web"))
    expected = {
        "files": [0, 1, 2],
        "leads": True,
        "policy": os.SCHED_OTHER,
        "variables": ["CLUSTERCTL_RUNNER", "PATH", "TEST_MARK"],
        "blocked": 0,
    }
    said["variables"] = [name for name in said["variables"] if not name.startswith("LC_")]
    assert said == expected


async def test_where_a_cgroup_can_be_made_the_workload_is_in_its_own(
    runners: LinuxRunners, mark: str, tmp_path: Path
) -> None:
    if cgroup.own_directory() is None:
        pytest.skip("no writable cgroup v2 on this machine")
    await runners.start("web", workload(mark, "sleep", "1000"), permit())
    found = record.read(str(directory(tmp_path)))
    assert found is not None
    assert found.cgroup is not None
    assert cgroup.members(found.cgroup) == marked(mark)
    await runners.stop("web", 1, IN_ORDER)
    assert not cgroup.members(found.cgroup)


def _is_nowhere(secret: str, place: Path, pid: int) -> None:
    for path in place.rglob("*"):
        if path.is_file():
            assert secret not in path.read_text()
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert secret.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()


def _holds_lock(tmp_path: Path) -> bool:
    path = directory(tmp_path) / record.LOCK
    if not path.exists():
        return False
    inode = str(path.stat().st_ino)
    return any(line.split()[5].endswith(f":{inode}") for line in _locks())


def _locks() -> list[str]:
    return Path("/proc/locks").read_text().splitlines()


async def test_without_descriptors_the_names_are_unknown_and_not_none(
    runners: LinuxRunners, mark: str
) -> None:
    """An agent ended by this, when it only wanted to tell the pulse what runs."""
    await runners.start("web", workload(mark, "sleep", "1000"), permit(3))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(HostError, match="not readable"):
            runners.names()
        with pytest.raises(HostError):
            runners.recorded()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert runners.names() == ("web",)
