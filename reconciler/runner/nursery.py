"""Forks holders: everything that they need is loaded once, so that one starts in a millisecond.

The agent (`adapters.linux.holders`) starts `python -S -m reconciler.runner` with a control socket
as descriptor 3. Each byte that comes with a descriptor makes one holder, whose own control socket
that descriptor is. The nursery ends with the agent; holders do not.
"""

import gc
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import NoReturn

from reconciler.runner import entry


def main() -> NoReturn:
    """Until the agent is gone."""
    with suppress(OSError):  # refused in some containers; it runs all the same
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for holders: the kernel reaps
    gc.collect()
    gc.freeze()  # holders share these pages as long as nobody counts references in them
    with socket.socket(fileno=entry.CONTROL) as control:
        while True:
            word, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not word:
                os._exit(0)
            for descriptor in descriptors:
                if os.fork() == 0:
                    _become_holder(descriptor)
                os.close(descriptor)


def _become_holder(descriptor: int) -> NoReturn:
    """Never returns into the nursery's loop, whatever happens."""
    code: object = 1
    try:
        os.setsid()
        os.dup2(descriptor, entry.CONTROL)
        entry.main()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - this process must end here in any case
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code if isinstance(code, int) else 1)
