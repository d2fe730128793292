"""`volume`: keep this server's hands off the cluster's disks at boot; open one for a while."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from clusterctl.connection import CliContext, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.global_options import SECONDS, ClusterCommand
from clusterctl.picture import read_picture
from clusterctl.this_server import myself
from clusterctl.volume_gate import (
    LVM_CONFIG,
    UDEV_RULES,
    NotGated,
    devices_of,
    lvm_config,
    udev_rules,
)

RELOAD_TIMEOUT_S = 30.0
LONGEST_S = 24 * 3600.0


@click.group()
def command() -> None:
    """Guard the cluster's disks on this server."""


@command.command(cls=ClusterCommand)
@click.option("-f", "--file", "paths", multiple=True, metavar="PATH", help="Specs, not the store.")
@click.option("--this-server", is_flag=True, help="Ask the store with this server's certificate.")
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if something would change.")
@click.option("--root", default="/", metavar="DIRECTORY", help="Where etc is, if not in /.")
@click.pass_obj
def gate(
    cli: CliContext, paths: tuple[str, ...], this_server: bool, check: bool, root: str
) -> ExitCode:
    """Let nothing but the agent use the cluster's disks on this server.

    Writes a rule for udev and a filter for LVM, so that no disk of a resource is scanned,
    assembled, activated or mounted by itself, at boot or when it appears. Run it again on every
    server when disks come or go. A logical volume stays active; disks below it are not touched.
    """
    if this_server:
        myself(cli)
    devices = devices_of(_from_files(cli, paths) if paths else asyncio.run(_from_store(cli)))
    changed = []
    try:
        for name, text in _wanted(devices, Path(root)).items():
            if _differs(Path(root) / name, text):
                changed.append(f"/{name}")
                if not check:
                    _write(Path(root) / name, text)
    except OSError as error:
        denied = isinstance(error, PermissionError)
        code = ExitCode.NOT_PERMITTED if denied else ExitCode.FAILED
        raise Failure(f"{error.filename}: {error.strerror}", code) from error
    if changed and not check and root == "/":
        _reload()
    _tell(devices, changed, check=check)
    for line in _fstab(devices):
        click.echo(line, err=True)
    return ExitCode.DIFFERENT if changed and check else ExitCode.DONE


def _from_files(cli: CliContext, paths: Iterable[str]) -> list[object]:
    from specs.load import load, read_sources

    found = load(read_sources(tuple(paths), sys.stdin.buffer), cli.types())
    return [resource.spec for resource in found.resources.values()]


async def _from_store(cli: CliContext) -> list[object]:
    async with connected(cli) as connection:
        picture = await read_picture(connection, ("Resource",), cli.types())
    if picture.specs is None:
        return []
    return [resource.spec for resource in picture.specs.resources.values()]


def _wanted(devices: list[str], root: Path) -> dict[str, str]:
    try:
        found = (root / LVM_CONFIG).read_text()
    except FileNotFoundError:
        found = ""
    try:
        return {UDEV_RULES: udev_rules(devices), LVM_CONFIG: lvm_config(devices, found)}
    except NotGated as error:
        raise Failure(f"refused: /{LVM_CONFIG}: {error}", ExitCode.REFUSED) from None


def _differs(path: Path, text: str) -> bool:
    try:
        return path.read_text() != text
    except FileNotFoundError:
        return bool(text)


def _write(path: Path, text: str) -> None:
    """The whole file or nothing; an empty one goes."""
    if not text:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.chmod(0o644)
    temporary.replace(path)


def _reload() -> None:
    if shutil.which("udevadm") is None:
        return
    done = subprocess.run(
        ["udevadm", "control", "--reload"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=RELOAD_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        click.echo("udev does not run: the rule counts from the next boot on", err=True)


def _tell(devices: list[str], changed: list[str], *, check: bool) -> None:
    disks = f"{len(devices)} disk{'' if len(devices) == 1 else 's'}"
    if not changed:
        click.echo(f"nothing to change for {disks}")
    elif check:
        click.echo(f"would change for {disks}: {', '.join(changed)}")
    else:
        click.echo(f"written for {disks}: {', '.join(changed)}")


def _fstab(devices: list[str]) -> Iterable[str]:
    from reconciler.disks import device

    for name in devices:
        try:
            line = device.in_fstab(device.node_of(name))
        except device.Unusable:
            continue
        if line:
            yield f"line {line} of /etc/fstab mounts {name}: remove it, or write noauto,nofail"


@command.command(cls=ClusterCommand)
@click.argument("resource")
@click.option("--ttl", type=SECONDS, required=True, metavar="DURATION", help="At most so long.")
@click.option("--why", default="", metavar="TEXT", help="Kept with the event.")
@click.option("--this-server", is_flag=True, help="Ask the store with this server's certificate.")
@click.pass_obj
def unlock(cli: CliContext, resource: str, ttl: float, why: str, this_server: bool) -> ExitCode:
    """Let a person use the disk of RESOURCE on this server for a while.

    Its group must be stopped, and nobody may have the disk. It is reserved for this server as for
    its owner, if its spec reserves it. The command stays until the time is over, the group is
    started, or it is interrupted; then all mounts of the disk on this server go, programs that use
    them are killed, and the reservation goes, too.
    """
    from clusterctl.volume_unlock import hold_open

    if not 1 <= ttl <= LONGEST_S:
        raise click.UsageError("--ttl is between 1s and 24h")
    if this_server:
        myself(cli)
    ended = asyncio.run(hold_open(cli, resource.removeprefix("resource/"), ttl, why))
    click.echo(f"locked again: {ended}")
    return ExitCode.DONE
