"""One lab for all tests that only need *a* lab: making one takes some seconds."""

from collections.abc import Iterator

import pytest

from tests.integration.lab_under_test import LabUnderTest


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """Three installed servers, all running, without their agents: those would fence what a test
    crashes. A test leaves it as it found it."""
    made = LabUnderTest.start(tmp_path_factory.mktemp("lab") / "d")
    try:
        disable = "mkdir -p /etc/clusterctl/disabled; touch /etc/clusterctl/disabled/agent"
        for server in made.plan.servers:
            made.run(server.name, "sh", "-c", disable)
            for program in ("agent", "pulse"):
                if made.server(server.name)["processes"][program]:
                    made.lab("kill", f"{server.name}/{program}")
        yield made
    finally:
        made.down()
