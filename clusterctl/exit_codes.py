"""What the exit status of every command means; scripts rely on these numbers."""

from enum import IntEnum


class ExitCode(IntEnum):
    DONE = 0
    DIFFERENT = 1  # a difference was found, or a check failed
    USAGE = 2  # wrong usage, or a spec that is not valid
    UNREACHABLE = 3  # no answer from the cluster's store, or no quorum
    CONFLICT = 4  # somebody else owns or changed it meanwhile
    REFUSED = 5  # a guard refused
    FAILED = 6  # the operation failed, or can no longer come without an operator
    TIMEOUT = 7
    NOT_PERMITTED = 8  # not root, or the store denied it
    INTERNAL = 70  # a fault of this program
    INTERRUPTED = 130


class CheckCode(IntEnum):
    """`status --check` speaks the language of monitoring plug-ins."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3
