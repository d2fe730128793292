"""A server leaves an installed cluster for good, and nothing that runs notices."""

import json
from collections.abc import Iterator

import pytest

from tests.integration.lab_under_test import (
    SOURCE,
    LabUnderTest,
    clusterctl,
    eventually,
    needs_lab,
)

pytestmark = [*needs_lab, pytest.mark.long]

MEMBERS = """
import asyncio
from clusterctl.bootstrap.first_server import open_admin
from clusterctl.bootstrap.layout import Layout
from reconciler.config import load_config

async def names():
    layout = Layout()
    admin = open_admin(layout, load_config(layout.agent_config).endpoints)
    print(*sorted(member.name for member in await admin.members()))
    await admin.close()

asyncio.run(names())
"""


@pytest.fixture
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with LabUnderTest.running(tmp_path_factory.mktemp("leave") / "d", "--servers", "3") as made:
        yield made


@pytest.mark.timeout(600)
def test_a_server_leaves_and_its_access_with_it(
    three: LabUnderTest,
) -> None:
    clusterctl("apply", "examples/01-web")
    clusterctl("wait", "group/web", "--for", "online", "--timeout", "60s")
    clusterctl("move", "group/web", "--to", "n3")
    leave = ("cluster", "leave", "n3", "--yes-i-mean", "n3")

    owns = clusterctl(*leave, check=False)
    assert (owns.returncode, "clusterctl drain n3" in owns.stderr) == (5, True)
    clusterctl("drain", "n3")
    there = clusterctl(*leave, check=False)
    assert (there.returncode, "the agent of n3 is there" in there.stderr) == (5, True)
    three.output("n3", "mkdir", "-p", "/etc/clusterctl/disabled")
    three.output("n3", "touch", "/etc/clusterctl/disabled/agent")
    clusterctl("lab", "kill", "n3/agent")
    named = []

    def gone() -> bool:
        named.append(clusterctl(*leave, check=False))
        return "the agent of n3 is there" not in named[-1].stderr

    eventually(gone, "its session has ended", 60.0)
    # the group of the example lists all three
    assert named[-1].returncode == 5, named[-1].stderr
    assert "without server/n3 the specs are not valid" in named[-1].stderr
    web = three.directory / "web"
    web.mkdir()
    for file in sorted((SOURCE / "examples/01-web").glob("*.yaml")):
        (web / file.name).write_text(file.read_text().replace("[n1, n2, n3]", "[n1, n2]"))
    clusterctl("apply", str(web))

    left = json.loads(clusterctl(*leave, "-o", "json").stdout)
    assert left["membersLeft"] == 2
    assert three.output("n1", "python3", "-c", MEMBERS).split() == ["n1", "n2"]
    shown = json.loads(clusterctl("status", "-o", "json").stdout)
    assert [server["name"] for server in shown["servers"]] == ["n1", "n2"]
    assert clusterctl("get", "group/web").returncode == 0
    # neither its agent nor its name is known any more
    code, _, error = three.run("n3", "clusterctl", "drain", "--this-server", "--timeout", "5s")
    assert code != 0, error
    again = clusterctl(*leave, check=False)
    assert (again.returncode, "there is no server n3" in again.stderr) == (2, True)
    for name in ("n1", "n2"):
        three.output(name, "clusterctl", "cluster", "refresh")
    clusterctl("move", "group/web")
    clusterctl("wait", "group/web", "--for", "online", "--timeout", "60s")
