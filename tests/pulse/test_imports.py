"""The pulse starts without site-packages: only the standard library and itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import reconciler

ROOT = Path(reconciler.__file__).parent.parent
LIST_MODULES = """
import importlib, json, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for found in pkgutil.iter_modules(package.__path__):
    if found.name != "__main__":
        importlib.import_module(f"{package.__name__}.{found.name}")
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
print(json.dumps(sorted(name for name in sys.modules if name.startswith("reconciler"))))
"""


@pytest.mark.parametrize("package", ["reconciler.pulse", "reconciler.runner"])
def test_only_the_standard_library_and_its_own_package(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", LIST_MODULES, package],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    top_level, ours = (json.loads(line) for line in done.stdout.splitlines())
    assert set(top_level) - sys.stdlib_module_names <= {"reconciler", "__main__"}
    assert all(name in ("reconciler", package) or name.startswith(f"{package}.") for name in ours)
