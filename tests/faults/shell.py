"""`clusterctl` as a process that stays: a new one for each command costs half a second of CPU,
which would disturb what is being measured. Used by `cluster_under_test.py`.

    python -m tests.faults.shell

One JSON list of words in per line, one JSON object {status, out, err} out.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass

TIMEOUT_S = 150.0


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is the exit status of the command."""

    status: int
    out: str
    err: str


class Shell:
    """One such process. A command that does not end is killed with it and fails the test."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.shell"],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, *words: str, timeout_s: float = TIMEOUT_S) -> Answer:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        killer = threading.Timer(timeout_s, process.kill)
        killer.start()
        try:
            process.stdin.write(json.dumps(words) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        finally:
            killer.cancel()
        assert line, f"clusterctl {' '.join(words)} did not end within {timeout_s:.0f} s"
        return Answer(**json.loads(line))

    def close(self) -> None:
        self._process.kill()
        with self._process:
            pass


def main() -> None:
    from clusterctl import app

    wire, answers = sys.stdin, sys.stdout
    sys.stdin = io.TextIOWrapper(io.BytesIO())
    for line in wire:
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            status = app.run(json.loads(line))
        said = {"status": int(status), "out": output.getvalue(), "err": errors.getvalue()}
        answers.write(json.dumps(said) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
