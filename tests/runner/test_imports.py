"""A runner is small and depends on nothing that is installed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_runner_needs_the_standard_library_only() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import reconciler.runner.entry\n"
        "own = {m for m in sys.modules if m.split('.')[0] in ('specs', 'reconciler')}\n"
        "print(*sorted(m for m in own if not m.startswith('reconciler.runner')))\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules} - sys.stdlib_module_names - "
        "{'reconciler', '__main__'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["reconciler"]
