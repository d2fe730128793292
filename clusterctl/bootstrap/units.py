"""The installed systemd units: `cluster init` and `join` start them where there are any.

A lab's servers run no systemd and have a supervisor of their own; there nothing is done here.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from clusterctl.bootstrap.layout import BootstrapError

ETCD = "clusterctl-etcd.service"
AGENT = "clusterctl-agent.service"
ENROLMENT = "clusterctl-enrolment.service"
DRAIN = "clusterctl-drain.service"
FOREIGN_ETCD = "etcd.service"

SYSTEMD_RUNS = Path("/run/systemd/system")
UNIT_DIRECTORIES = (
    Path("/etc/systemd/system"),
    Path("/usr/local/lib/systemd/system"),
    Path("/lib/systemd/system"),
    Path("/usr/lib/systemd/system"),
)
CALL_TIMEOUT_S = 30.0


def are_installed() -> bool:
    """Whether systemd runs here and knows our units."""
    return SYSTEMD_RUNS.is_dir() and any(
        (directory / AGENT).exists() for directory in UNIT_DIRECTORIES
    )


def refuse_foreign_etcd() -> None:
    """Debian's own etcd takes the store's port; whether it may go is not for us to decide."""
    if _systemctl("is-active", "--quiet", FOREIGN_ETCD).returncode == 0:
        raise BootstrapError(
            f"{FOREIGN_ETCD} runs here and takes the port of the cluster's store; if nothing else "
            f"needs it: systemctl disable --now {FOREIGN_ETCD}, then repeat this command"
        )


def start(units: Sequence[str]) -> None:
    """Enable and start them, now and at each boot; does not wait until they are ready. Units that
    run already are left alone. Raises `BootstrapError`."""
    # etcd is ready when it has a quorum, so waiting for it here could take for ever
    done = _systemctl("enable", "--quiet", *units)
    if done.returncode == 0:
        done = _systemctl("start", "--no-block", *units)
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise BootstrapError(
            f"{', '.join(units)} can not be started: {reason[-1] if reason else 'no reason given'}"
        )


def stop(units: Sequence[str]) -> None:
    """Stop them and wait until they have ended. Raises `BootstrapError`."""
    _ask("stop", units)


def restart(units: Sequence[str]) -> None:
    """Restart them without waiting until they are ready. Raises `BootstrapError`."""
    _ask("restart", units, "--no-block")


def _ask(verb: str, units: Sequence[str], *options: str) -> None:
    done = _systemctl(verb, *options, *units)
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise BootstrapError(
            f"systemctl {verb} {' '.join(units)}: {reason[-1] if reason else 'no reason given'}"
        )


def _systemctl(*arguments: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            ["systemctl", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BootstrapError(
            f"systemctl {arguments[0]} took longer than {CALL_TIMEOUT_S:.0f} s; see "
            "`systemctl list-jobs`, then repeat this command"
        ) from error
    except OSError as error:
        raise BootstrapError(f"systemctl can not be run: {error.strerror}") from error
