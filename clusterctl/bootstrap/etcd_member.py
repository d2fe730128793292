"""The configuration of this server's etcd member, and the access rules inside etcd.

Written by init and join; etcd itself is started by a supervisor with
`etcd --config-file /etc/clusterctl/etcd.yaml`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Protocol

from clusterctl.bootstrap.certificates import ADMIN_USER, agent_user
from clusterctl.bootstrap.facts import Facts, require_free
from clusterctl.bootstrap.layout import CLIENT_PORT, PEER_PORT, Layout
from reconciler.adapters.etcd.admin import EtcdAdmin, Permission
from reconciler.decide.keys import Keys

QUOTA_BYTES = 2 * 1024**3
COMPACTION_RETENTION = "30m"
LOOPBACK = "127.0.0.1"


class Access(Protocol):
    """The part of `EtcdAdmin` that gives rights."""

    async def set_role(self, role: str, permissions: Sequence[Permission]) -> None: ...
    async def set_user(self, user: str, role: str) -> None: ...


def host(address: str) -> str:
    """An address as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


def client_url(address: str) -> str:
    return f"https://{host(address)}:{CLIENT_PORT}"


def peer_url(address: str) -> str:
    return f"https://{host(address)}:{PEER_PORT}"


def require_free_ports(layout: Layout, addresses: Sequence[str]) -> None:
    """Raises `BootstrapError` when another program holds what etcd is to listen on. Once etcd has
    its configuration it may be our own that holds them."""
    if not layout.etcd_config.exists():
        require_free((*addresses, LOOPBACK), (CLIENT_PORT, PEER_PORT))


def member_config(
    layout: Layout,
    facts: Facts,
    server: str,
    addresses: tuple[str, ...],
    initial: Mapping[str, str] | None,
    *,
    token: str | None = None,
) -> str:
    """Text of etcd.yaml (JSON is YAML). `initial` maps member names to peer URLs of the cluster to
    join; None begins a new cluster, whose identity follows from `token`. The first address carries
    peers, all serve clients."""
    own = peer_url(addresses[0])
    listed = {server: own} if initial is None else {**initial, server: own}
    tls = {
        "cert-file": str(layout.certificate("server")),
        "key-file": str(layout.key("server")),
        "trusted-ca-file": str(layout.certificate("ca")),
        "client-cert-auth": True,
    }
    clients = ",".join(client_url(each) for each in (*addresses, LOOPBACK))
    return (
        json.dumps(
            {
                "name": server,
                "data-dir": str(layout.etcd_data),
                "listen-peer-urls": own,
                "initial-advertise-peer-urls": own,
                "listen-client-urls": clients,
                "advertise-client-urls": client_url(addresses[0]),
                "initial-cluster": ",".join(f"{name}={url}" for name, url in listed.items()),
                "initial-cluster-state": "new" if initial is None else "existing",
                "initial-cluster-token": token or facts.cluster,
                "client-transport-security": tls,
                "peer-transport-security": tls,
                "heartbeat-interval": facts.etcd_heartbeat_ms,
                "election-timeout": facts.etcd_election_ms,
                "pre-vote": True,
                "auto-compaction-mode": "periodic",
                "auto-compaction-retention": COMPACTION_RETENTION,
                "quota-backend-bytes": QUOTA_BYTES,
                # the gateway would act with this member's own certificate for any caller
                "enable-grpc-gateway": False,
                "logger": "zap",
            },
            indent=2,
        )
        + "\n"
    )


async def secure(admin: EtcdAdmin, keys: Keys, server: str) -> None:
    """Users, roles and authentication of a new cluster whose first server is `server`."""
    await admin.set_role(ADMIN_USER, ())
    await admin.set_user(ADMIN_USER, ADMIN_USER)
    await admit_agent(admin, keys, server)
    await admin.enable_auth()


async def admit_agent(admin: Access, keys: Keys, server: str) -> None:
    """Let the agent of `server` in: it reads everything, writes run/, events/, its own status."""
    user = agent_user(server)
    await admin.set_role(
        user,
        (
            Permission(keys.root, write=False),
            Permission(keys.run, write=True),
            Permission(keys.events, write=True),
            Permission(f"{keys.status}{server}/", write=True),
        ),
    )
    await admin.set_user(user, user)
