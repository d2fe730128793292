"""What the runners of the tests hold, and where they write it down."""

import os
from pathlib import Path

from reconciler.ports.host import StopPlan, Workload

NOW = StopPlan(grace_s=0.0)


IN_ORDER = StopPlan(grace_s=10.0)


def workload(mark: str, *command: str, **changes: object) -> Workload:
    environment = dict([mark.split("=")]) | {"PATH": os.defpath}
    return Workload(command, environment, **changes)  # type: ignore[arg-type]


def shell(mark: str, script: str, **changes: object) -> Workload:
    return workload(mark, "/bin/sh", "-c", script, **changes)


def directory(tmp_path: Path, name: str = "web") -> Path:
    return tmp_path / "runners" / name
