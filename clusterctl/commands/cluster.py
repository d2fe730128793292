"""`clusterctl cluster init|token|join|leave`: make a cluster out of servers."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import click

from clusterctl.connection import CliContext, connected
from clusterctl.exit_codes import ExitCode
from clusterctl.failure import Failure
from clusterctl.global_options import SECONDS, ClusterCommand, output_option

P = ParamSpec("P")
R = TypeVar("R")

START = (
    "started by a supervisor on this server: etcd --config-file /etc/clusterctl/etcd.yaml; "
    "reconciler; and where /etc/clusterctl/pki/ca.key is: python -m clusterctl.bootstrap.enrolment"
)
TOKEN_LIMIT = 16 * 1024


@click.group()
def command() -> None:
    """Make a cluster, join servers to it, and let them leave."""


def _explained(function: Callable[P, R]) -> Callable[P, R]:
    """Turn what the operator has to change into a `Failure`."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        from clusterctl.bootstrap.layout import BootstrapError

        try:
            return function(*args, **kwargs)
        except BootstrapError as error:
            raise Failure(str(error), ExitCode.FAILED) from error

    return wrapper


@command.command(cls=ClusterCommand)
@click.argument("name")
@click.option("--server", required=True, help="Name of this server.")
@click.option(
    "--address",
    "addresses",
    required=True,
    multiple=True,
    help="Address of this server; once per network.",
)
@click.option("--private", required=True, help="Network that carries the store, as a CIDR.")
@click.option("--public", default=None, help="Network of the clients, as a CIDR.")
@click.option(
    "--profile",
    type=click.Choice(["default", "fast-lan", "no-realtime", "wan"]),
    default="default",
    show_default=True,
    help="Timing profile.",
)
@click.option("--wait", "wait_s", type=SECONDS, default="60s", help="How long to wait for etcd.")
@output_option("text", "json")
@_explained
def init(
    name: str,
    server: str,
    addresses: tuple[str, ...],
    private: str,
    public: str | None,
    profile: str,
    wait_s: float,
    output: str,
) -> None:
    """Begin a cluster on this server. Repeat the same command if it was interrupted.

    It writes /etc/clusterctl, starts the installed units, and makes etcd secure. Without units
    something else has to start etcd meanwhile.
    """
    from clusterctl.bootstrap import first_server, units
    from clusterctl.bootstrap.facts import Facts
    from clusterctl.bootstrap.layout import Layout
    from specs.cluster import PROFILES

    _checked_name(name, "NAME")
    _checked_name(server, "--server")
    networks = {"private": _checked_cidr(private, "--private")}
    if public is not None:
        networks["public"] = _checked_cidr(public, "--public")
    timing = PROFILES[profile]
    facts = Facts(
        cluster=name,
        networks=networks,
        profile=profile,
        etcd_heartbeat_ms=timing.etcd_heartbeat_ms,
        etcd_election_ms=timing.etcd_election_ms,
    )
    layout = Layout()
    installed = units.are_installed()
    if installed:
        units.refuse_foreign_etcd()
    identity = first_server.write_first_server(layout, facts, server, addresses)
    if installed:
        units.start([units.ETCD])
    if output == "text":
        _say_waiting(layout.configuration, installed)
    _run(first_server.secure_first_server(layout, facts, identity, wait_s))
    if installed:
        units.start([units.AGENT, units.ENROLMENT, units.DRAIN])
    _report(
        output,
        {"cluster": name, "server": server, "addresses": list(identity.addresses)},
        f"cluster {name} begins on {server}\n"
        "next: clusterctl cluster token, then on each other server: clusterctl cluster join -",
    )


@command.command(cls=ClusterCommand)
@click.option("--ttl", "ttl_s", type=SECONDS, default="1h", show_default=True, help="Valid for.")
@click.option("--server", default=None, help="Only the server of this name may use it.")
@click.option("--replace", is_flag=True, help="It replaces a lost server of the same name.")
@click.option(
    "--admin/--no-admin", default=True, help="Whether clusterctl may administer from that server."
)
@output_option("text", "json")
@_explained
def token(ttl_s: float, server: str | None, replace: bool, admin: bool, output: str) -> None:
    """Print a token that lets one server join, once. It is a secret: send it over a safe way."""
    from clusterctl.bootstrap.layout import Layout

    if not 60 <= ttl_s <= 7 * 86400:
        raise Failure("--ttl must be between 1 minute and 7 days", ExitCode.USAGE)
    made = _run(_token(Layout(), _Wish(ttl_s, server, replace, admin)))
    _report(output, {"token": made, "validFor": ttl_s}, made)


@dataclass(frozen=True, slots=True)
class _Wish:
    ttl_s: float
    server: str | None
    replace: bool
    admin: bool


async def _token(layout: Any, wish: _Wish) -> str:
    from clusterctl.bootstrap import certificates, etcd_member, tokens
    from clusterctl.bootstrap.facts import read_facts
    from clusterctl.bootstrap.first_server import open_store
    from clusterctl.bootstrap.layout import ENROLMENT_PORT
    from reconciler.config import load_config
    from reconciler.decide.keys import Keys

    facts = read_facts(layout.cluster_facts)
    authority = certificates.stored_authority(layout)
    config = load_config(layout.agent_config)
    host = config.endpoints[0].removeprefix("https://").rsplit(":", 1)[0].strip("[]")
    store = open_store(layout, facts.cluster, config.endpoints)
    try:
        made = await tokens.create(
            store,
            Keys(facts.cluster),
            endpoints=(f"https://{etcd_member.host(host)}:{ENROLMENT_PORT}",),
            ca_sha256=certificates.fingerprint(authority.pem),
            lifetime_s=wish.ttl_s,
            server=wish.server,
            admin=wish.admin,
            replace=wish.replace,
        )
    finally:
        await store.close()
    return made.encode()


@command.command(cls=ClusterCommand)
@click.argument("token", default="-")
@click.option("--server", required=True, help="Name of this server.")
@click.option(
    "--address",
    "addresses",
    required=True,
    multiple=True,
    help="Address of this server; once per network, the store's network first.",
)
@click.option(
    "--wait", "wait_s", type=SECONDS, default="60s", help="How long to wait for etcd's vote."
)
@click.option(
    "--discard-store",
    is_flag=True,
    help="The store of before is lost: move this server's part of it aside.",
)
@output_option("text", "json")
@_explained
def join(
    token: str,
    server: str,
    addresses: tuple[str, ...],
    wait_s: float,
    discard_store: bool,
    output: str,
) -> None:
    """Join this server to a cluster. TOKEN is read from standard input unless given.

    Other users of this machine see what stands on a command line, so prefer `-`.
    """
    from clusterctl.bootstrap import joining, tokens, units
    from clusterctl.bootstrap.layout import Layout

    _checked_name(server, "--server")
    if token == "-":  # noqa: S105 (the usual name of standard input)
        token = sys.stdin.read(TOKEN_LIMIT)
    layout = Layout()
    installed = units.are_installed()
    if installed:
        units.refuse_foreign_etcd()
    decoded = tokens.decode(token)
    if discard_store and installed:
        units.stop([units.ETCD])
    identity, member = _run(
        joining.join(layout, decoded, server, addresses, discard_store=discard_store)
    )
    if discard_store and installed:
        units.restart([units.AGENT])
    if installed:
        units.start([*([units.ETCD] if member else []), units.AGENT, units.DRAIN])
    voting = False
    if member and wait_s > 0:
        if output == "text":
            _say_waiting(layout.configuration, installed)
        _wait_for_vote(layout, identity, wait_s, installed=installed)
        voting = True
    _report(
        output,
        {"server": server, "addresses": list(identity.addresses), "storeMember": member},
        f"{server} has joined" + (", its etcd has a vote" if voting else ""),
    )


@command.command(cls=ClusterCommand)
@click.argument("server")
@click.option("--yes-i-mean", "said", metavar="SERVER", help="The server's name once more.")
@output_option("text", "json")
@click.pass_obj
@_explained
def leave(cli: CliContext, server: str, said: str | None, output: str) -> None:
    """Remove SERVER from the cluster for good: its spec, its vote in the store, its access.

    From anywhere but SERVER. It must run no group (`clusterctl drain SERVER`), its agent must be
    stopped, and the others must keep the store's quorum. Repeat it if it was interrupted.
    """
    name = server.removeprefix("server/")
    if said != name:
        text = f"refused: {name} leaves for good. Say so by repeating its name"
        raise Failure(text, ExitCode.REFUSED, f"--yes-i-mean {name}")
    steps: list[str] = []

    async def work() -> int:
        from clusterctl.bootstrap import leaving

        async with connected(cli) as connection:
            settings = connection.settings
            admin = leaving.open_admin(settings.endpoints, settings.tls)
            try:
                return await leaving.leave(connection, admin, cli.types(), name, steps.append)
            finally:
                await admin.close()

    left = _run(work())
    wipe = "systemctl disable --now clusterctl-etcd, then remove /etc/clusterctl/pki"
    todo = [
        f"on {name}: {wipe}; an administrator's key there still opens the store",
        "on the others: clusterctl cluster refresh; on the first: clusterctl cluster rotate-key",
    ]
    text = "\n".join([*steps, *(f"next: {line}" for line in todo)])
    _report(output, {"server": name, "done": steps, "membersLeft": left, "next": todo}, text)


@command.command(cls=ClusterCommand)
@output_option("text", "json")
@_explained
def refresh(output: str) -> None:
    """Write the store's present members into this server's agent.yaml and context.yaml.

    Do this on every server after servers joined or left; restart the agent if it says so. It also
    fetches the keys of the heartbeats, which the agent takes without a restart.
    """
    from clusterctl.bootstrap import joining
    from clusterctl.bootstrap.layout import BootstrapError, Layout

    layout = Layout()
    endpoints, changed = _run(joining.refresh(layout))
    text = "restart the agent to use them" if changed else "nothing has changed"
    new_key = False
    try:
        new_key = _run(joining.fetch_cluster_key(layout))
    except BootstrapError as error:
        click.echo(f"the keys of the heartbeats could not be fetched: {error}", err=True)
    text += "; the keys of the heartbeats are new" if new_key else ""
    _report(
        output,
        {"endpoints": list(endpoints), "changed": changed, "newKey": new_key},
        f"{len(endpoints)} members of the store: {', '.join(endpoints)}; {text}",
    )


@command.command("rotate-key", cls=ClusterCommand)
@output_option("text", "json")
@click.pass_obj
@_explained
def rotate_key(cli: CliContext, output: str) -> None:
    """Exchange the key that signs heartbeats, a step at a time; heartbeats go on.

    On the first server: run it, then `clusterctl cluster refresh` on each other server, and the
    same once more. A step is refused until every server runs with the keys of the step before.
    """
    from clusterctl.bootstrap import cluster_key
    from clusterctl.bootstrap.layout import Layout

    layout = Layout()
    done, others = cluster_key.step(layout, _run(_told_keys(cli)))
    left = len(cluster_key.read_keys(layout)) - 1
    again = f", then here {cluster_key.AGAIN}" if left else ""
    _report(
        output,
        {"done": done, "fetchOn": others, "keys": 1 + left},
        f"{done}\nnext: on each other server {cluster_key.FETCH}{again}",
    )


async def _told_keys(cli: CliContext) -> dict[str, tuple[str, ...]]:
    """For each server of the specs the names of the keys that it says to run with."""
    from clusterctl.picture import read_run

    async with connected(cli) as connection:
        objects = (await connection.repository.read()).objects
        records = await read_run(connection)
    specified = [name.split("/", 1)[1] for name in objects if name.startswith("Server/")]
    told = {}
    for name in specified:
        status, session = records.server_status.get(name), records.sessions.get(name)
        alive = status is not None and session is not None and session.boot_id == status.boot_id
        told[name] = status.cluster_keys if status is not None and alive else ()
    return told


def _wait_for_vote(layout: Any, identity: Any, wait_s: float, *, installed: bool) -> None:
    from clusterctl.bootstrap import joining
    from clusterctl.bootstrap.etcd_member import peer_url
    from reconciler.config import load_config

    endpoints = load_config(layout.agent_config).endpoints[1:]
    url = peer_url(identity.addresses[0])
    if not _run(joining.wait_for_vote(layout, endpoints, url, wait_s)):
        look = "see why with `journalctl -u clusterctl-etcd`"
        start = "start etcd with `etcd --config-file /etc/clusterctl/etcd.yaml`"
        raise Failure(
            f"{identity.server} is enrolled, but its etcd got no vote within {wait_s:.0f} s",
            ExitCode.TIMEOUT,
            f"{look if installed else start}, then repeat this",
        )


def _say_waiting(configuration: Any, installed: bool) -> None:
    who = "its units are started" if installed else START
    click.echo(f"{configuration} is written; waiting for etcd, {who}", err=True)


def _run(work: Coroutine[Any, Any, R]) -> R:
    return asyncio.run(work)


def _report(output: str, data: dict[str, Any], text: str) -> None:
    click.echo(json.dumps(data) if output == "json" else text)


def _checked_name(text: str, where: str) -> None:
    from specs.scalars import parse_name

    try:
        parse_name(text)
    except ValueError as error:
        raise Failure(f"{where}: {error}", ExitCode.USAGE) from error


def _checked_cidr(text: str, where: str) -> str:
    from specs.scalars import parse_cidr

    try:
        return parse_cidr(text)
    except ValueError as error:
        raise Failure(f"{where}: {error}", ExitCode.USAGE) from error
