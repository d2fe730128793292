"""`python -S -m reconciler.mirror SETTINGS.json`: the engine of one mirror, until told to quit.

The agent starts it; it outlives the agent. Only one runs for each metadata file.
"""

import fcntl
import gc
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from reconciler.mirror.commands import serve
from reconciler.mirror.engine import Engine, EngineError
from reconciler.mirror.opening import is_made
from reconciler.mirror.settings import Settings

PRIORITY = -10
GARBAGE_AT = 50_000


def main() -> int:
    try:
        settings = Settings.load(Path(sys.argv[1]))
        os.makedirs(settings.directory, mode=0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_CLOEXEC
        # A disk that is not there must not become a file.
        if not settings.shared and is_made(settings.metadata):
            os.makedirs(os.path.dirname(settings.metadata), mode=0o700, exist_ok=True)
            flags |= os.O_CREAT
        lock = os.open(settings.metadata, flags, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        engine = Engine(settings)
    except BlockingIOError:
        sys.stderr.write("another engine has this mirror\n")
        return 3
    except (EngineError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: setattr(engine, "quit", True))
    with suppress(OSError):  # every write of its disk waits for it, on both servers
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_AT, 20, 20)
    serve(engine)
    engine.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
