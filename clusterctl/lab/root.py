"""The outermost process of a lab: holds its network and mount namespace, starts the daemon, reaps.

    python -S -m clusterctl.lab.root DIRECTORY

Started by up.py into the lab's cgroup. Standard library only; it does nothing that could fail once
it runs, so the lab outlives its daemon and the command that started it.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from clusterctl.lab import kernel, plan
from clusterctl.lab.init import environment


def main(arguments: Sequence[str]) -> int:
    lab = plan.load(Path(arguments[0]))
    (lab.cgroup / "lab" / "cgroup.procs").write_text("0")
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWNET)
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.set_subreaper()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    daemon = os.fork()
    if daemon == 0:
        argv = [lab.python, "-m", "clusterctl.lab.daemon", str(lab.directory)]
        os.execve(argv[0], argv, {**os.environ, **environment(lab)})  # noqa: S606
    state = {"pid": os.getpid(), "start": kernel.process_start(os.getpid())}
    path = lab.directory / "root.json"
    path.with_suffix(".new").write_text(json.dumps(state))
    path.with_suffix(".new").replace(path)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            signal.pause()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
