"""Make this process hard to delay: real-time policy, locked memory, no garbage collection."""

import ctypes
import gc
import os
import resource

PRIORITY = 50
_MCL_CURRENT_FUTURE = 3


def harden() -> tuple[bool, bool, list[str]]:
    """(real-time?, locked?, warnings). What is not permitted becomes a warning, not an error."""
    warnings: list[str] = []
    realtime = locked = False
    try:
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(PRIORITY))
        realtime = True
    except OSError as error:
        warnings.append(f"no real-time scheduling ({error.strerror}): use profile no-realtime")
    if os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] < 0:
        locked = ctypes.CDLL(None).mlockall(_MCL_CURRENT_FUTURE) == 0
    if not locked:
        warnings.append("memory is not locked: swapping may delay heartbeats")
    gc.collect()
    gc.freeze()
    gc.disable()
    return realtime, locked, warnings
