"""What becomes of a program when its nursery, its holder or the agent dies, hangs or changes."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from reconciler.adapters.linux.holders import Line
from reconciler.adapters.linux.runners import LinuxRunners
from reconciler.ports.host import HostError, RunnerState
from reconciler.runner import cgroup, record
from tests.resources.places import permit
from tests.runner.processes import marked, until
from tests.runner.workloads import IN_ORDER, NOW, directory, shell, workload


async def test_a_holder_that_does_not_answer_its_word_to_go_is_ended(
    runners: LinuxRunners, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, stopped = Line.send_now, []

    def send_now(line: Line, message: dict[str, object]) -> None:
        assert line.holder is not None
        stopped.append(line.holder)
        os.kill(line.holder.pid, signal.SIGSTOP)
        real(line, message)

    monkeypatch.setattr(Line, "send_now", send_now)
    monkeypatch.setattr("reconciler.adapters.linux.runners.ANSWER_TIMEOUT_S", 2.0)
    with pytest.raises(HostError, match="did not answer in time"):
        await runners.start("web", workload(mark, "sleep", "1000"), permit())
    assert not any(record.is_alive(holder) for holder in stopped)
    assert not marked(mark)


async def test_a_nursery_that_died_is_replaced(runners: LinuxRunners, mark: str) -> None:
    await runners.prepare()
    assert runners._nursery._pid is not None
    os.kill(runners._nursery._pid, signal.SIGKILL)
    await runners.start("web", workload(mark, "sleep", "1000"), permit())
    assert marked(mark)


async def test_a_nursery_that_hangs_is_replaced_after_a_failed_start(
    runners: LinuxRunners, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await runners.prepare()
    assert runners._nursery._pid is not None
    os.kill(runners._nursery._pid, signal.SIGSTOP)
    monkeypatch.setattr("reconciler.adapters.linux.runners.ANSWER_TIMEOUT_S", 0.5)
    with pytest.raises(HostError, match="did not answer in time"):
        await runners.start("web", workload(mark, "sleep", "1000"), permit())
    monkeypatch.undo()
    await runners.start("web", workload(mark, "sleep", "1000"), permit())
    assert len(marked(mark)) == 1


async def test_workloads_outlive_the_nursery(runners: LinuxRunners, mark: str) -> None:
    names = [f"web-{number}" for number in range(5)]
    started = (runners.start(n, workload(mark, "sleep", "1000"), permit()) for n in names)
    await asyncio.gather(*started)
    runners.close()
    assert len(marked(mark)) == len(names)
    for name in names:
        view = await runners.observe(name)
        assert (view.state, view.is_held) == (RunnerState.RUNNING, True)


async def test_a_later_agent_adopts_a_runner(
    runners: LinuxRunners, mark: str, tmp_path: Path
) -> None:
    await runners.start("web", workload(mark, "sleep", "1000"), permit(2))
    later = LinuxRunners(tmp_path)
    assert later.names() == ("web",)
    assert (await later.observe("web")).state is RunnerState.RUNNING
    woken = asyncio.ensure_future(later.changed("web", RunnerState.RUNNING))
    (pid,) = marked(mark)
    os.kill(pid, signal.SIGTERM)
    await asyncio.wait_for(woken, 15)
    assert (await later.observe("web")).exit_code == -signal.SIGTERM
    later.close()


@pytest.mark.parametrize("has_cgroup", [True, False])
async def test_a_killed_holder_is_seen_and_its_tree_is_cleared(
    runners: LinuxRunners, mark: str, tmp_path: Path, has_cgroup: bool
) -> None:
    script = "setsid sleep 1000 & sleep 1000 & sleep 1000; wait"
    await runners.start("web", shell(mark, script), permit())
    await until(lambda: len(marked(mark)) >= 4, "the whole tree runs")
    if not has_cgroup:
        _forget_cgroup(directory(tmp_path))
    woken = asyncio.ensure_future(runners.changed("web", RunnerState.RUNNING))
    await asyncio.sleep(0)
    _kill_holder(tmp_path)
    await asyncio.wait_for(woken, 15)
    view = await runners.observe("web")
    assert view.state is RunnerState.LOST
    assert view.left
    await runners.stop("web", 1, IN_ORDER)
    assert not marked(mark)
    assert (await runners.observe("web")).state is RunnerState.ABSENT


async def test_a_frozen_holder_does_not_hold_up_a_stop(
    runners: LinuxRunners, mark: str, tmp_path: Path
) -> None:
    await runners.start("web", workload(mark, "sleep", "1000"), permit())
    found = record.read(str(directory(tmp_path)))
    assert found is not None
    os.kill(found.holder.pid, signal.SIGSTOP)
    await runners.stop("web", 1, IN_ORDER)
    assert not marked(mark)


async def test_a_terminated_holder_ends_its_workload_in_order(
    runners: LinuxRunners, mark: str, tmp_path: Path
) -> None:
    await runners.start("web", workload(mark, "sleep", "1000"), permit())
    found = record.read(str(directory(tmp_path)))
    assert found is not None
    os.kill(found.holder.pid, signal.SIGTERM)
    await until(lambda: not marked(mark), "the workload is gone")
    await until(lambda: not record.is_alive(found.holder), "the holder is gone")


async def test_a_reused_process_number_is_not_taken_for_the_runner(
    runners: LinuxRunners, tmp_path: Path
) -> None:
    place = directory(tmp_path)
    place.mkdir(parents=True)
    somebody = record.Process(os.getpid(), 1)
    stale = record.Record("web", 1, record.RUNNING, "web-0", holder=somebody, main=somebody)
    record.write(str(place), stale)
    assert (await runners.observe("web")).state is RunnerState.LOST
    await runners.stop("web", 1, NOW)
    assert (await runners.observe("web")).state is RunnerState.ABSENT


def _kill_holder(tmp_path: Path) -> None:
    found = record.read(str(directory(tmp_path)))
    assert found is not None
    os.kill(found.holder.pid, signal.SIGKILL)


def _forget_cgroup(place: Path) -> None:
    path = place / record.RECORD
    content = json.loads(path.read_text())
    if content["cgroup"]:
        cgroup_directory, content["cgroup"] = content["cgroup"], None
        for pid in cgroup.members(cgroup_directory):
            (Path(cgroup_directory).parent / "cgroup.procs").write_text(str(pid))
        cgroup.remove(cgroup_directory)
    path.write_text(json.dumps(content))
