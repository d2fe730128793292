"""`disk`: prepare a shared device for heartbeats, and look at one."""

import errno
import json
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from clusterctl.connection import CliContext
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.global_options import ClusterCommand, output_option
from reconciler.pulse.disk_layout import (
    BLOCK,
    MOST_SERVERS,
    SIZE,
    SLOT,
    header,
    owner_of,
    slot_offset,
    unpack,
)

_CHUNK = 64 * 1024


@click.group()
def command() -> None:
    """Prepare a shared device for heartbeats, and look at one."""


@command.command(cls=ClusterCommand)
@click.argument("device")
@click.option(
    "--erase", "said", metavar="DEVICE", help="The device again: overwrite what it holds."
)
@click.pass_obj
def prepare(cli: CliContext, device: str, said: str | None) -> ExitCode:
    """Make DEVICE (on this server) a heartbeat disk of the cluster.

    Do it once, on one server. It uses the first 772 KiB. A device that holds anything else is
    refused unless its name is repeated with --erase.
    """
    cluster = cli.settings().cluster
    with _opened(device, os.O_RDWR | os.O_EXCL) as descriptor:
        found = owner_of(_read(descriptor, 0, BLOCK))
        if found == cluster:
            click.echo(f"{device} is a heartbeat disk of cluster {cluster} already")
            return ExitCode.DONE
        if said != device and not _is_empty(descriptor):
            what = f"a heartbeat disk of cluster {found}" if found else "not empty"
            text = f"refused: {device} is {what}. Overwrite it with --erase {device}"
            raise Failure(text, ExitCode.REFUSED)
        empty = mmap.mmap(-1, SLOT)
        for number in range(MOST_SERVERS):
            os.pwritev(descriptor, [empty], slot_offset(number))
        first = mmap.mmap(-1, BLOCK)
        first[:] = header(cluster)
        os.pwritev(descriptor, [first], 0)
        os.fsync(descriptor)
    click.echo(f"{device} is now a heartbeat disk of cluster {cluster}")
    return ExitCode.DONE


@command.command(cls=ClusterCommand)
@click.argument("device")
@output_option("text", "json")
def show(device: str, output: str) -> ExitCode:
    """Say which cluster DEVICE belongs to, and which of its slots hold heartbeats."""
    with _opened(device, os.O_RDONLY) as descriptor:
        cluster = owner_of(_read(descriptor, 0, BLOCK))
        used = []
        if cluster is not None:
            slots = range(MOST_SERVERS)
            used = [n for n in slots if unpack(_read(descriptor, slot_offset(n), SLOT))]
    if output == "json":
        click.echo(json.dumps({"device": device, "cluster": cluster, "slots": used}))
    elif cluster is None:
        click.echo(f"{device} is not a heartbeat disk")
    else:
        told = ", ".join(map(str, used)) or "none"
        click.echo(f"{device}: heartbeat disk of cluster {cluster}; slots in use: {told}")
    return ExitCode.DONE if cluster is not None else ExitCode.DIFFERENT


@contextmanager
def _opened(device: str, flags: int) -> Iterator[int]:
    """The device past this server's cache. Raises `Failure`."""
    try:
        descriptor = os.open(device, flags | os.O_DIRECT | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            text = f"{device} is in use on this server (mounted, or part of something)"
            raise Failure(text, ExitCode.REFUSED) from None
        code = ExitCode.NOT_PERMITTED if error.errno == errno.EACCES else ExitCode.USAGE
        raise Failure(f"{device}: {error.strerror}", code) from None
    try:
        yield descriptor
    except OSError as error:
        raise Failure(f"{device}: {error.strerror}", ExitCode.FAILED) from None
    finally:
        os.close(descriptor)


def _read(descriptor: int, offset: int, size: int) -> bytes:
    buffer = mmap.mmap(-1, size)
    if os.preadv(descriptor, [buffer], offset) < size:
        raise Failure(f"the device is too small: {SIZE // 1024} KiB are needed", ExitCode.USAGE)
    return buffer[:]


def _is_empty(descriptor: int) -> bool:
    return not any(
        any(_read(descriptor, offset, min(_CHUNK, SIZE - offset)))
        for offset in range(0, SIZE, _CHUNK)
    )
