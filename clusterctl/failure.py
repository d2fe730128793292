"""How a command ends badly: one sentence, one exit code, and the next command to type.

`clusterctl.app.run` turns everything that a command raises into a `Failure` and prints it.
"""

import asyncio
import errno

import click

from clusterctl.exit_codes import ExitCode
from reconciler.ports.store import Denied, Indeterminate, NoLeader, StoreError
from specs.errors import SpecError


class Failure(Exception):
    """`message` is a sentence for people; `next_command` is shown as the last line if given."""

    def __init__(self, message: str, code: ExitCode, next_command: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.next_command = next_command


def explained(error: BaseException) -> Failure | None:
    """The failure that a known error means, or None for a fault of this program."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return Failure(error.format_message(), ExitCode.USAGE)
    if isinstance(error, click.exceptions.UsageError):
        path = error.ctx.command_path if error.ctx else "clusterctl"
        return Failure(error.format_message(), ExitCode.USAGE, f"{path} --help")
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt | asyncio.CancelledError):
        return Failure("interrupted", ExitCode.INTERRUPTED)
    if isinstance(error, click.ClickException):
        return Failure(error.format_message(), ExitCode.USAGE)
    if isinstance(error, SpecError):
        return Failure(str(error), ExitCode.USAGE)
    if isinstance(error, StoreError):
        return _store_failure(error)
    if isinstance(error, OSError):
        return _system_failure(error)
    return _repository_failure(error)


def _repository_failure(error: BaseException) -> Failure | None:
    from reconciler.spec_revisions import Conflict, RepositoryError, UnknownRevision

    if isinstance(error, Conflict):
        return Failure(
            f"conflict: {error}", ExitCode.CONFLICT, "clusterctl history, then try again"
        )
    if isinstance(error, UnknownRevision):
        return Failure(str(error), ExitCode.USAGE, "clusterctl history")
    if isinstance(error, RepositoryError):
        return Failure(str(error), ExitCode.FAILED, "try again")
    return None


def _store_failure(error: StoreError) -> Failure:
    brief = str(error).split("; last error", 1)[0]
    detail = f" ({brief})" if brief else ""
    if isinstance(error, Denied):
        return Failure(
            f"the cluster's store does not permit this{detail}",
            ExitCode.NOT_PERMITTED,
            "run it as root on a server of the cluster, or with --context FILE of an administrator",
        )
    if isinstance(error, Indeterminate):
        return Failure(
            f"the store did not say whether the change was made{detail}; it may have been",
            ExitCode.UNREACHABLE,
            "clusterctl history; clusterctl get operations",
        )
    if isinstance(error, NoLeader):
        return Failure(
            f"the cluster's store has no leader now, so no quorum{detail}",
            ExitCode.UNREACHABLE,
            "see that most servers run: systemctl status 'clusterctl-*' on each",
        )
    if "database space exceeded" in brief:
        return Failure(
            f"the store's space is used up, so it takes no writes{detail}",
            ExitCode.UNREACHABLE,
            "clusterctl doctor",
        )
    return Failure(
        f"no answer from the cluster's store{detail}",
        ExitCode.UNREACHABLE,
        "check --endpoints and that etcd runs there: systemctl status clusterctl-etcd",
    )


def _system_failure(error: OSError) -> Failure | None:
    if isinstance(error, PermissionError):
        name = error.filename or "it"
        return Failure(f"not permitted to use {name}", ExitCode.NOT_PERMITTED, "run it as root")
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return Failure(f"{error.filename}: {error.strerror}", ExitCode.USAGE)
    if error.errno in (errno.ENOSPC, errno.EROFS, errno.EIO):
        return Failure(f"{error.filename or 'writing'}: {error.strerror}", ExitCode.FAILED)
    return None
