"""`clusterctl cluster init`: make a cluster out of this server. Called by commands/cluster.py.

It writes files and makes etcd secure once a supervisor has started it. Each step leaves alone what
is there already, so an interrupted init is repeated with the same command.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clusterctl.bootstrap import certificates, etcd_member
from clusterctl.bootstrap.facts import Facts, by_network, read_facts, require_local
from clusterctl.bootstrap.layout import BootstrapError, Layout, write_file
from clusterctl.connection import open_etcd
from clusterctl.settings import Settings, Tls
from reconciler.adapters.clock import MonotonicClock
from reconciler.adapters.etcd.admin import EtcdAdmin
from reconciler.config import AgentConfig, dump_config, load_config
from reconciler.decide.keys import Keys
from reconciler.ports.store import Store, Unavailable

START_ETCD = "etcd --config-file /etc/clusterctl/etcd.yaml"


@dataclass(frozen=True, slots=True)
class Identity:
    """This server: its name and its addresses, the one in the store's network first."""

    server: str
    addresses: tuple[str, ...]


def write_first_server(layout: Layout, facts: Facts, server: str, given: Sequence[str]) -> Identity:
    """Write everything that the first server needs; starts nothing."""
    layout.prepare()
    if layout.cluster_facts.exists():
        known = read_facts(layout.cluster_facts)
        if known != facts:
            raise BootstrapError(
                f"this server belongs to cluster {known.cluster} already, with other settings; "
                f"to begin anew remove {layout.configuration} and {layout.state} first"
            )
    require_local(given)
    etcd_member.require_free_ports(layout, given)
    placed = by_network(facts.networks, given)
    first = placed[next(iter(facts.networks))]
    identity = Identity(server, (first, *(each for each in given if each != first)))
    _refuse_other_name(layout, server)
    authority = _authority(layout, facts.cluster)
    write_certificates(layout, authority, identity)
    if not layout.cluster_key.exists():
        write_file(layout.cluster_key, json.dumps({"keys": [secrets.token_hex(32)]}) + "\n")
    if not (layout.etcd_data / "member").exists():
        text = etcd_member.member_config(layout, facts, server, identity.addresses, None)
        write_file(layout.etcd_config, text)
    endpoints = (etcd_member.client_url(first),)
    if not layout.agent_config.exists():
        write_access(layout, facts.cluster, server, endpoints)
    # last: its presence says that the files above are complete
    write_file(layout.cluster_facts, facts.to_text())
    return identity


def write_access(
    layout: Layout, cluster: str, server: str, endpoints: tuple[str, ...], *, admin: bool = True
) -> None:
    """agent.yaml for the agent and context.yaml for clusterctl."""
    config = AgentConfig(cluster=cluster, server=server, endpoints=endpoints)
    write_file(layout.agent_config, dump_config(config))
    if admin:
        write_file(layout.context, context_text(cluster, endpoints, Path("pki")))


def context_text(cluster: str, endpoints: Sequence[str], pki: Path) -> str:
    """A context file: which cluster clusterctl talks to; paths are relative to the file."""
    lines = ["apiVersion: clusterctl/v1", "kind: Context", f"cluster: {cluster}", "endpoints:"]
    lines += [f"  - {endpoint}" for endpoint in endpoints]
    lines += [f"ca: {pki / 'ca.crt'}", f"cert: {pki / 'admin.crt'}", f"key: {pki / 'admin.key'}"]
    return "\n".join(lines) + "\n"


async def secure_first_server(
    layout: Layout, facts: Facts, identity: Identity, wait_s: float
) -> None:
    """Users, roles and authentication, as soon as etcd answers; `BootstrapError` if it does not."""
    admin = open_admin(layout, (etcd_member.client_url(identity.addresses[0]),))
    try:
        await admin.wait_until_answers(wait_s)
        await etcd_member.secure(admin, Keys(facts.cluster), identity.server)
    except Unavailable as error:
        raise BootstrapError(
            f"etcd does not answer on {identity.addresses[0]} after {wait_s:.0f} s: start it with "
            f"`{START_ETCD}` (installed units: see `journalctl -u clusterctl-etcd`) and repeat "
            "this command"
        ) from error
    finally:
        await admin.close()


def open_admin(layout: Layout, endpoints: Sequence[str], name: str = "admin") -> EtcdAdmin:
    """The store's administration, with this server's certificate of that name."""
    return EtcdAdmin(
        endpoints,
        layout.certificate("ca").read_bytes(),
        layout.certificate(name).read_bytes(),
        layout.key(name).read_bytes(),
    )


def open_store(layout: Layout, cluster: str, endpoints: Sequence[str]) -> Store:
    """The store's data, with this server's admin certificate; raises `StoreError`."""
    tls = Tls(
        str(layout.certificate("ca")),
        str(layout.certificate("admin")),
        str(layout.key("admin")),
    )
    return open_etcd(Settings(cluster, tuple(endpoints), tls, 5.0), MonotonicClock())


def write_certificates(
    layout: Layout, authority: certificates.Authority, identity: Identity
) -> None:
    """Keys and certificates of etcd, agent and administrator on a server that holds the CA."""
    key = certificates.stored_key(layout, "server").public_key()
    signed = {
        "server": certificates.sign_server(authority, key, identity.server, identity.addresses),
    }
    for name, user in (
        ("agent", certificates.agent_user(identity.server)),
        ("admin", certificates.ADMIN_USER),
    ):
        key = certificates.stored_key(layout, name).public_key()
        signed[name] = certificates.sign_client(authority, key, user)
    for name, certificate in signed.items():
        write_file(layout.certificate(name), certificate)


def _authority(layout: Layout, cluster: str) -> certificates.Authority:
    if layout.certificate("ca").exists():
        return certificates.stored_authority(layout)
    authority = certificates.make_authority(cluster)
    # the key first: a key without certificate is replaced by the next attempt, never the reverse
    write_file(layout.key("ca"), certificates.key_to_pem(authority.key))
    write_file(layout.certificate("ca"), authority.pem)
    return authority


def _refuse_other_name(layout: Layout, server: str) -> None:
    if layout.agent_config.exists():
        known = load_config(layout.agent_config).server
        if known != server:
            raise BootstrapError(f"this server is {known} already, it can not become {server}")
