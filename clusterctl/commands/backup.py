"""`backup save|show|restore`: what the store must not lose, as a file, and back."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from clusterctl.connection import CliContext, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.global_options import SECONDS, ClusterCommand, output_option

FILE = click.Path(path_type=Path, dir_okay=False)
NEXT = "clusterctl store restored"


@click.group()
def command() -> None:
    """Save what the store must not lose into a file, and begin a store from it."""


@command.command(cls=ClusterCommand)
@click.argument("file", type=FILE)
@click.option("--with-secrets", is_flag=True, help="With the keys of the CA and the heartbeats.")
@output_option("text", "json")
@click.pass_obj
def save(cli: CliContext, file: Path, with_secrets: bool, output: str) -> ExitCode:
    """Write all specs with their history, and which groups are stopped, into FILE (mode 0600).

    With secrets it lets its reader become a server of the cluster: keep it like a password.
    """
    from clusterctl.bootstrap import backup
    from clusterctl.bootstrap.layout import BootstrapError, Layout

    layout = Layout()
    try:
        files = backup.secret_files(layout) if with_secrets else {}
        manifest = asyncio.run(_save(cli, layout, file, files))
    except BootstrapError as error:
        raise Failure(str(error), ExitCode.FAILED) from error
    text = f"{file}: {manifest.keys} keys of cluster {manifest.cluster}, {_holds(manifest)}"
    _report(output, manifest, text)
    return ExitCode.DONE


async def _save(cli: CliContext, layout: Any, file: Path, files: dict[str, bytes]) -> Any:
    from importlib.metadata import version

    from clusterctl.bootstrap import backup

    async with connected(cli) as connection:
        revision, items = await backup.collect(connection.store, connection.keys)
        head = await connection.repository.head()
        store_id = connection.store.store_id
        cluster = connection.keys.cluster
    files = {"store.jsonl": backup.store_lines(items), **files}
    if layout.cluster_facts.exists():
        files["cluster.json"] = layout.cluster_facts.read_bytes()
    manifest = backup.Manifest(
        format=backup.FORMAT,
        cluster=cluster,
        server=_server(layout),
        revision=revision,
        store_id=store_id,
        specs_revision=head.revision if head else None,
        keys=len(items),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=version("clusterctl"),
        files=backup.digests(files),
    )
    backup.write(file, manifest, files)
    backup.read(file)  # what cannot be read back is no backup
    return manifest


def _server(layout: Any) -> str:
    from reconciler.config import load_config

    return load_config(layout.agent_config).server if layout.agent_config.exists() else ""


@command.command(cls=ClusterCommand)
@click.argument("file", type=FILE)
@output_option("text", "json")
def show(file: Path, output: str) -> ExitCode:
    """Check FILE and say what is in it."""
    from clusterctl.bootstrap import backup
    from clusterctl.bootstrap.layout import BootstrapError

    try:
        manifest = backup.read(file).manifest
    except BootstrapError as error:
        raise Failure(str(error), ExitCode.FAILED) from error
    text = f"cluster {manifest.cluster}, {manifest.created}, {_holds(manifest)}; checksums hold"
    _report(output, manifest, text)
    return ExitCode.DONE


def _holds(manifest: Any) -> str:
    specs = manifest.specs_revision
    secret = "with" if manifest.has_secrets else "without"
    return f"{f'specs revision {specs}' if specs else 'no specs'}, {secret} secrets"


def _report(output: str, manifest: Any, text: str) -> None:
    data = manifest.model_dump(exclude={"files"}) | {"secrets": manifest.has_secrets}
    click.echo(json.dumps(data) if output == "json" else text)


@command.command(cls=ClusterCommand)
@click.argument("file", type=FILE)
@click.option("--server", default=None, help="Name of this server (default: as it was).")
@click.option(
    "--address",
    "addresses",
    multiple=True,
    help="Address of this server; the store's network first (default: as they were).",
)
@click.option("--wait", "wait_s", type=SECONDS, default="60s", help="How long to wait for etcd.")
@output_option("text", "json")
def restore(
    file: Path, server: str | None, addresses: tuple[str, ...], wait_s: float, output: str
) -> ExitCode:
    """Begin a new store on this server with what FILE holds, when the old one is lost.

    The other servers join it again. Nothing is started before `clusterctl store restored`. Repeat
    the same command if it was interrupted.
    """
    from clusterctl.bootstrap.layout import BootstrapError

    try:
        todo, count = asyncio.run(_restore(file, server, addresses, wait_s, output))
    except BootstrapError as error:
        raise Failure(str(error), ExitCode.FAILED) from error
    name = todo.identity.server
    data = {"server": name, "keys": count, "endpoint": todo.endpoint, "next": NEXT}
    text = (
        f"{count} keys are in a new store on {name}; no agent acts on it yet\n"
        "next: on each other server `clusterctl cluster join - --discard-store …` with a token of "
        f"this one; then here `{NEXT}`"
    )
    click.echo(json.dumps(data) if output == "json" else text)
    return ExitCode.DONE


async def _restore(
    file: Path, server: str | None, addresses: tuple[str, ...], wait_s: float, output: str
) -> tuple[Any, int]:
    from clusterctl.bootstrap import backup, restoring, units
    from clusterctl.bootstrap.layout import Layout

    found = backup.read(file)
    installed = units.are_installed()
    todo = restoring.plan(Layout(), found, server, addresses)
    await restoring.refuse_living_store(todo)
    if installed and not todo.is_under_way():
        units.stop([units.ETCD])
    restoring.make_room(todo)
    if installed:
        units.start([units.ETCD])
    elif output == "text":
        click.echo("waiting for etcd, started by a supervisor on this server", err=True)
    count = await restoring.fill(todo, wait_s)
    if installed:
        units.start([units.AGENT, units.ENROLMENT])
        units.restart([units.AGENT, units.ENROLMENT])
    return todo, count
