"""Applications with real programs, as the group runner drives them."""

import asyncio
import json
import os
import pwd
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reconciler.adapters.linux.host import LinuxHost
from reconciler.binding import BoundDriver
from reconciler.ports.driver import ResourceError, ResourceState
from reconciler.runner import record
from specs.errors import SpecErrors
from tests.resources.places import driver_of, permit, resource_from

pytestmark = pytest.mark.integration


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[LinuxHost]:
    async with LinuxHost(tmp_path) as made:
        yield made


@pytest.fixture
async def build(host: LinuxHost) -> AsyncIterator["Build"]:
    made = Build(host)
    yield made
    for driver in made.drivers:
        await driver.deactivate(2**62)


class Build:
    """Drivers of a test; all are stopped at its end."""

    def __init__(self, host: LinuxHost) -> None:
        self.host = host
        self.drivers: list[BoundDriver] = []

    def __call__(self, *command: str, **fields: object) -> BoundDriver:
        spec = {"group": "web", "type": "application", "command": list(command), **fields}
        document = {
            "apiVersion": "clusterctl/v1",
            "kind": "Resource",
            "metadata": {"name": "server"},
            "spec": spec,
        }
        driver = driver_of(resource_from(json.dumps(document)), self.host)
        self.drivers.append(driver)
        return driver

    @property
    def log(self) -> str:
        return self.host.runners.log_tail("server", 100_000)


async def test_it_serves_when_its_start_returns(build: Build) -> None:
    port = free_port()
    command = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port))
    driver = build(*command, startedWhen={"port": port})
    await driver.activate(permit(2))
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    await writer.wait_closed()
    observed = await driver.observe()
    assert (observed.state, observed.epoch) == (ResourceState.ACTIVE, 2)
    await driver.deactivate(2)
    assert (await driver.observe()).state is ResourceState.INACTIVE
    assert port_is_free(port)


async def test_its_death_is_seen_and_it_starts_again(build: Build) -> None:
    driver = build("sleep", "1000")
    await driver.activate(permit(1))
    pid = int((await driver.observe()).details["pid"])
    os.kill(pid, signal.SIGKILL)
    await asyncio.wait_for(driver.changed(), 15)
    observed = await driver.observe()
    assert (observed.state, observed.reason) == (
        ResourceState.FAILED,
        "the program was ended by SIGKILL",
    )
    await driver.activate(permit(2))
    assert (await driver.observe()).state is ResourceState.ACTIVE


async def test_a_killed_runner_is_a_failed_resource_that_can_be_stopped(
    build: Build, tmp_path: Path
) -> None:
    driver = build("/bin/sh", "-c", "setsid sleep 1000 & sleep 1000; wait")
    await driver.activate(permit(1))
    await driver.observe()
    found = record.read(str(tmp_path / "runners" / "server"))
    assert found is not None
    os.kill(found.holder.pid, signal.SIGKILL)
    await asyncio.wait_for(driver.changed(), 15)
    observed = await driver.observe()
    assert observed.state in (ResourceState.PARTIAL, ResourceState.FAILED)
    assert "runner died" in observed.reason
    await driver.deactivate(1)
    assert (await driver.observe()).state is ResourceState.INACTIVE


@pytest.mark.parametrize("started", [{"startGrace": "20s"}, {"startedWhen": {"port": 1}}])
async def test_a_program_that_dies_at_once_fails_its_start_with_its_last_words(
    build: Build, started: dict[str, object]
) -> None:
    driver = build("/bin/sh", "-c", "echo no database >&2; exit 9", **started)
    with pytest.raises(ResourceError, match="exited with code 9; its last words: no database"):
        await driver.activate(permit())


async def test_a_program_that_never_serves_fails_its_start_in_time(build: Build) -> None:
    driver = build("sleep", "1000", startedWhen={"port": free_port()}, startTimeout="300ms")
    with pytest.raises(ResourceError, match=r"longer than 0\.3 s"):
        await driver.activate(permit())


@pytest.mark.parametrize(("code", "codes"), [(0, [0]), (7, [0, 7])])
async def test_a_one_shot_is_active_after_success(
    build: Build, code: int, codes: list[int]
) -> None:
    driver = build("sh", "-c", f"exit {code}", mode="one-shot", successExitCodes=codes)
    await driver.activate(permit(3))
    observed = await driver.observe()
    assert (observed.state, observed.epoch) == (ResourceState.ACTIVE, 3)


async def test_a_one_shot_runs_once_for_each_epoch(build: Build, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    driver = build("sh", "-c", f"echo $CLUSTER_EPOCH >> {runs}", mode="one-shot")
    for epoch in (1, 1, 2):
        await driver.activate(permit(epoch))
    assert runs.read_text() == "1\n2\n"


async def test_a_failing_one_shot_fails_its_start(build: Build) -> None:
    driver = build("sh", "-c", "echo disk is full; exit 5", mode="one-shot")
    with pytest.raises(ResourceError, match="exited with code 5; its last words: disk is full"):
        await driver.activate(permit())
    assert (await driver.observe()).state is ResourceState.FAILED


async def test_a_one_shot_is_undone_also_when_its_runner_died(build: Build, tmp_path: Path) -> None:
    undone = tmp_path / "undone"
    driver = build(
        "true", mode="one-shot", stopCommand=["sh", "-c", f"echo $CLUSTER_EPOCH > {undone}"]
    )
    await driver.activate(permit(4))
    found = record.read(str(tmp_path / "runners" / "server"))
    assert found is not None
    os.kill(found.holder.pid, signal.SIGKILL)
    await asyncio.wait_for(_dead(found.holder), 15)
    await driver.deactivate(4)
    assert undone.read_text() == "4\n"
    assert (await driver.observe()).state is ResourceState.INACTIVE


async def test_a_one_shot_that_can_not_be_undone_is_a_failed_stop(build: Build) -> None:
    driver = build("true", mode="one-shot", stopCommand=["false"])
    await driver.activate(permit())
    with pytest.raises(ResourceError, match="stop command ended with code 1"):
        await driver.deactivate(1)
    assert (await driver.observe()).state is ResourceState.ACTIVE
    build.drivers.clear()
    await build("true", mode="one-shot").deactivate(1)


async def test_it_gets_its_environment_and_nothing_else(build: Build) -> None:
    driver = build("env", mode="one-shot", env={"GREETING": "hello world"}, cwd="/usr")
    await driver.activate(permit(12))
    said = dict(line.split("=", 1) for line in build.log.splitlines())
    assert said["GREETING"] == "hello world"
    assert said["CLUSTER_GROUP"] == "web"
    assert said["CLUSTER_RESOURCE"] == "server"
    assert said["CLUSTER_SERVER"] == "n1"
    assert said["CLUSTER_EPOCH"] == "12"
    assert set(said) <= {
        *("GREETING", "CLUSTER_GROUP", "CLUSTER_RESOURCE", "CLUSTER_SERVER", "CLUSTER_EPOCH"),
        *("PATH", "CLUSTERCTL_RUNNER"),
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
async def test_it_runs_as_its_user(build: Build) -> None:
    nobody = pwd.getpwnam("nobody")
    driver = build("id", "-u", mode="one-shot", user="nobody", cwd="/")
    await driver.activate(permit())
    assert build.log == f"{nobody.pw_uid}\n"


async def test_one_that_ignores_its_signal_is_killed_within_its_stop_time(build: Build) -> None:
    script = "trap '' TERM; while :; do sleep 0.05; done"
    driver = build("sh", "-c", script, stopTimeout="2s")
    await driver.activate(permit())
    await driver.deactivate(1)
    assert (await driver.observe()).state is ResourceState.INACTIVE


async def test_it_is_ended_with_its_own_signal(build: Build, tmp_path: Path) -> None:
    ready, said = tmp_path / "ready", tmp_path / "said"
    script = f"trap 'echo quit > {said}; exit' QUIT; : > {ready}; while :; do sleep 0.02; done"
    driver = build("sh", "-c", script, stopSignal="QUIT")
    await driver.activate(permit())
    await asyncio.wait_for(_exists(ready), 15)
    await driver.deactivate(1)
    assert said.read_text() == "quit\n"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"mode": "one-shot", "startGrace": "1s"}, "resident programs only"),
        ({"stopSignal": "SIGNOTHING"}, "not a signal"),
        ({"cwd": "srv"}, "not an absolute path"),
        ({"env": {"A=B": "c"}}, "env"),
        ({"startGrace": "30s"}, "shorter than startTimeout"),
        ({"comand": ["true"]}, "comand"),
    ],
)
def test_a_wrong_field_is_one_clear_message(fields: dict[str, object], sentence: str) -> None:
    spec = {"group": "web", "type": "appli", "command": ["true"], **fields}
    document = {
        "apiVersion": "clusterctl/v1",
        "kind": "Resource",
        "metadata": {"name": "server"},
        "spec": spec,
    }
    with pytest.raises(SpecErrors, match=sentence):
        resource_from(json.dumps(document))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


async def _exists(path: Path) -> None:
    while not path.exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
        await asyncio.sleep(0.01)


async def _dead(process: record.Process) -> None:
    while record.is_alive(process):  # noqa: ASYNC110 - not our child
        await asyncio.sleep(0.01)
