"""Scripts with real processes, as the group runner drives them."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reconciler.adapters.linux.host import LinuxHost
from reconciler.adapters.linux.probes import LinuxProbes
from reconciler.binding import BoundDriver
from reconciler.decide.circumstances import FAILOVER, Circumstances
from reconciler.ports.driver import ResourceError, ResourceState
from reconciler.runner import record
from tests.resources.places import driver_of, permit, resource_from

pytestmark = pytest.mark.integration

FOUND = Circumstances(
    cluster="demo",
    event=FAILOVER,
    factor="GROUPMOVE",
    owner="n1",
    previous_owner="n2",
    cause="n2 was fenced",
    servers=("n2", "n1"),
)


class Build:
    """Drivers of a test and their directory; `again` is what the next agent makes of the last."""

    def __init__(self, directory: Path, host: LinuxHost, probes: LinuxProbes) -> None:
        self.directory, self.host, self.probes = directory, host, probes
        self.text = ""

    def __call__(self, **fields: object) -> BoundDriver:
        for name in ("start", "stop", "status"):
            if isinstance(fields.get(name), str):
                fields[name] = {"text": f"#!/bin/sh\ncd {self.directory}\n{fields[name]}\n"}
        spec = {"group": "web", "type": "script", **fields}
        kind = {"apiVersion": "clusterctl/v1", "kind": "Resource", "metadata": {"name": "job"}}
        self.text = json.dumps({**kind, "spec": spec})
        return self.again()

    def again(self) -> BoundDriver:
        resource = resource_from(self.text)
        return driver_of(resource, self.host, self.probes, FOUND, self.directory)

    def said(self, name: str) -> str:
        path = self.directory / name
        return path.read_text() if path.exists() else ""

    @property
    def scripts(self) -> list[Path]:
        return sorted((self.directory / "scripts").glob("?" * 64))


@pytest.fixture
async def build(tmp_path: Path) -> AsyncIterator[Build]:
    async with LinuxHost(tmp_path) as host:
        probes = LinuxProbes()
        made = Build(tmp_path, host, probes)
        yield made
        if "job" in host.runners.names():
            await host.runners.kill("job", 2**62)
            await made.again().deactivate(2**62)
        probes.close()


async def until(condition: object, what: str) -> None:
    """`condition` is called again and again."""
    assert callable(condition)
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a process makes it true
            await asyncio.sleep(0.01)


def lives(pid: str) -> bool:
    return record.identify(int(pid)) is not None


async def test_start_and_stop_run_once_each_with_what_they_must_know(build: Build) -> None:
    driver = build(start="env >> start", stop="env >> stop")
    await driver.activate(permit(7))
    await driver.activate(permit(7))
    assert (await driver.observe()).epoch == 7
    await driver.deactivate(7)
    assert (await driver.observe()).state is ResourceState.INACTIVE
    started = dict(line.split("=", 1) for line in build.said("start").splitlines())
    stopped = dict(line.split("=", 1) for line in build.said("stop").splitlines())
    assert build.said("start").count("CLUSTER_EPOCH=") == 1
    wanted = {
        "CLP_EVENT": "FAILOVER",
        "ARMS_EVENT": "FAILOVER",
        "CLP_SERVER": "OTHER",
        "CLP_SERVER_PREV": "n2",
        "CLP_PRIORITY": "2",
        "CLP_GROUPNAME": "web",
        "CLP_RESOURCENAME": "job",
        "CLP_CLUSTERNAME": "demo",
        "CLUSTER_EPOCH": "7",
        "CLUSTER_CAUSE": "n2 was fenced",
        "CLUSTER_ACTION": "start",
        "CLUSTER_PREVIOUS_OWNER": "n2",
    }
    assert {name: started.get(name) for name in wanted} == wanted
    assert (stopped["CLP_FACTOR"], stopped["CLUSTER_ACTION"]) == ("GROUPMOVE", "stop")
    assert started["CLP_FACTOR"] == ""


async def test_a_failing_start_says_its_last_words_and_is_stopped_before_the_next(
    build: Build,
) -> None:
    driver = build(start="echo start >> log; echo no disk; exit 3", stop="echo stop >> log")
    for _ in range(2):
        with pytest.raises(ResourceError, match="exited with code 3; its last words: no disk"):
            await driver.activate(permit(1))
    assert build.said("log").split() == ["start", "stop", "start"]


async def test_other_exit_codes_may_mean_success(build: Build) -> None:
    driver = build(start="exit 4", stop="exit 5", successExitCodes=[4], stopExitCodes=[5])
    await driver.activate(permit(1))
    await driver.deactivate(1)


async def test_a_start_that_hangs_is_killed_with_all_its_children(build: Build) -> None:
    forks = "setsid sleep 600 & echo $! > child; echo $$ > main; echo waiting; sleep 600"
    driver = build(start=forks, stop="echo stop >> log", startTimeout="1s")
    with pytest.raises(ResourceError, match=r"killed; its last words: waiting"):
        await driver.activate(permit(1))
    assert not lives(build.said("child"))
    assert not lives(build.said("main"))
    assert (await driver.observe()).state is ResourceState.FAILED
    await driver.deactivate(1)
    assert build.said("log") == "stop\n"
    assert (await driver.observe()).state is ResourceState.INACTIVE


async def test_the_next_agent_waits_for_a_start_that_is_under_way(build: Build) -> None:
    driver = build(start="echo start >> log; while [ ! -e go ]; do sleep 0.02; done")
    starting = asyncio.ensure_future(driver.activate(permit(1)))
    await until(lambda: build.said("log"), "the script to start")
    starting.cancel()  # as kill -9 does, nothing is told to anybody
    await asyncio.wait([starting])
    later = build.again()
    assert (await later.observe()).state is ResourceState.PARTIAL
    waiting = asyncio.ensure_future(later.activate(permit(1)))
    (build.directory / "go").touch()
    await waiting
    assert build.said("log") == "start\n"
    assert (await later.observe()).state is ResourceState.ACTIVE


async def test_a_stop_interrupted_by_the_agent_s_end_begins_anew(build: Build) -> None:
    driver = build(start="true", stop="echo stop >> log; while [ ! -e go ]; do sleep 0.02; done")
    await driver.activate(permit(1))
    stopping = asyncio.ensure_future(driver.deactivate(1))
    await until(lambda: build.said("log"), "the script to stop")
    stopping.cancel()
    await asyncio.wait([stopping])
    (build.directory / "go").touch()
    later = build.again()
    assert (await later.observe()).state is ResourceState.ACTIVE
    await later.deactivate(1)
    assert build.said("log") == "stop\nstop\n"


async def test_a_stop_that_fails_or_hangs_is_no_stop(build: Build) -> None:
    driver = build(start="true", stop="test -e ok || { echo busy; exit 1; }")
    await driver.activate(permit(1))
    with pytest.raises(ResourceError, match="its stop script: exit code 1; its last words: busy"):
        await driver.deactivate(1)
    assert (await driver.observe()).state is ResourceState.ACTIVE
    (build.directory / "ok").touch()
    await driver.deactivate(1)


async def test_what_a_start_leaves_running_belongs_to_it(build: Build) -> None:
    driver = build(start="setsid sleep 600 & echo $! > child", stop="true")
    await driver.activate(permit(1))
    assert lives(build.said("child"))
    await driver.deactivate(1)
    assert not lives(build.said("child"))


async def test_a_resident_script_is_the_service(build: Build) -> None:
    driver = build(mode="resident", start="echo $$ > main; exec sleep 600", stop="echo stop > log")
    await driver.activate(permit(1))
    await until(lambda: build.said("main"), "the script to run")
    await driver.observe()
    woken = asyncio.ensure_future(driver.changed())
    os.kill(int(build.said("main")), signal.SIGKILL)
    await woken
    assert (await driver.observe()).state is ResourceState.FAILED
    await driver.deactivate(1)
    assert build.said("log") == "stop\n"  # it clears up behind the dead one
    assert (await driver.observe()).state is ResourceState.INACTIVE


async def test_the_status_script_knows_better(build: Build) -> None:
    status = "test -e odd && exit 9; test -e runs || exit 3"
    driver = build(start="touch runs", stop="rm -f runs; echo stop >> log", status=status)
    assert (await driver.observe()).state is ResourceState.INACTIVE
    await driver.activate(permit(1))
    assert (await driver.observe()).state is ResourceState.ACTIVE
    (build.directory / "runs").unlink()
    observed = await driver.observe()
    assert (observed.state, "does not run" in observed.reason) == (ResourceState.FAILED, True)
    (build.directory / "odd").touch()
    assert (await driver.observe()).state is ResourceState.UNKNOWN
    (build.directory / "odd").unlink()
    await driver.deactivate(1)
    (build.directory / "runs").touch()  # by hand
    assert (await driver.observe()).state is ResourceState.PARTIAL
    await driver.deactivate(1)
    assert (await driver.observe()).state is ResourceState.INACTIVE


async def test_it_is_started_once_its_status_says_so(build: Build) -> None:
    late = "setsid sh -c 'sleep 0.3; touch runs' &"
    driver = build(start=late, status="test -e runs || exit 3")
    await driver.activate(permit(1))
    assert (build.directory / "runs").exists()


async def test_a_script_that_was_removed_or_changed_on_disk_is_written_again(build: Build) -> None:
    driver = build(start="true", stop="echo stop > log")
    await driver.activate(permit(1))
    for script in build.scripts:
        assert script.stat().st_mode & 0o777 == 0o700
        script.write_text("#!/bin/sh\necho evil > log\n")
    await driver.deactivate(1)
    assert build.said("log") == "stop\n"
    for script in build.scripts:
        script.unlink()
    await driver.activate(permit(2))
    await driver.deactivate(2)


async def test_no_room_for_the_scripts_is_a_failed_start(build: Build) -> None:
    (build.directory / "scripts").write_text("in the way")  # root is refused nothing else
    driver = build(start="touch started")
    with pytest.raises(ResourceError, match="its script cannot be written"):
        await driver.activate(permit(1))
    assert not (build.directory / "started").exists()


async def test_the_missing_interpreter_is_named(build: Build) -> None:
    driver = build(start={"text": "#!/usr/bin/no-such-shell\n"})
    with pytest.raises(ResourceError, match="no-such-shell"):
        await driver.activate(permit(1))


async def test_a_flood_of_output_is_cut_and_rotated(build: Build) -> None:
    flood = "head -c 300000 /dev/zero | tr '\\0' x"
    driver = build(start=flood, stop=flood, logLimit="64KiB", logFiles=2)
    await driver.activate(permit(1))
    await driver.deactivate(1)
    for name in ("runners/job/output.log", "scripts/job.log"):
        found = sorted(build.directory.glob(f"{name}*"))
        assert [path.name.rpartition(".log")[2] for path in found] == ["", ".1", ".2"]
        assert all(path.stat().st_size <= 128 * 1024 for path in found)


async def test_a_large_script_with_any_text_runs(build: Build) -> None:
    text = (
        "#!/bin/sh\n# größe 試験\n" + "# filler\n" * 25_000 + f"echo 試験 > {build.directory}/log\n"
    )
    driver = build(start={"text": text})
    await driver.activate(permit(1))
    assert build.said("log") == "試験\n"
