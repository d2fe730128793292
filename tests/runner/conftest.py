"""Runners with real processes, which are all gone after a test."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reconciler.adapters.linux.runners import LinuxRunners
from tests.runner.processes import marked, until
from tests.runner.workloads import NOW


@pytest.fixture
def mark() -> str:
    return f"TEST_MARK={uuid.uuid4().hex}"


@pytest.fixture
async def runners(tmp_path: Path, mark: str) -> AsyncIterator[LinuxRunners]:
    found = LinuxRunners(tmp_path)
    yield found
    for name in found.names():
        await found.stop(name, 2**62, NOW)
    found.close()
    await until(lambda: not marked(mark), "every process of the test is gone")
