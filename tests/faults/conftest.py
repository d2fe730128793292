"""Labs for the fault tests: one for each module, whose tests begin with everything whole."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cluster_under_test import ClusterUnderTest

# Where the servers' logs of each module are copied to before its lab ends.
KEEP = os.environ.get("FAULT_LOGS")


@pytest.fixture(scope="module")
def module_cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClusterUnderTest]:
    """Three servers and the group `web` with a witness."""
    made = ClusterUnderTest.start(tmp_path_factory.mktemp("faults") / "d")
    try:
        made.apply_group()
        yield made
    finally:
        name = request.module.__name__.rpartition(".")[2]
        made.down(keep=Path(KEEP) / f"{name}-{os.getpid()}" if KEEP else None)


@pytest.fixture
def cluster(module_cluster: ClusterUnderTest) -> Iterator[ClusterUnderTest]:
    """Everything whole before the test; after it, nothing ever ran twice."""
    module_cluster.make_whole()
    yield module_cluster
    module_cluster.assert_safe()
