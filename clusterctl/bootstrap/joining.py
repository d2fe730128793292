"""`clusterctl cluster join`: make this machine a server of a cluster. From commands/cluster.py.

Keys are made and kept first, then the enrolment service is asked, then files are written; so a
join that was interrupted anywhere is repeated with the same command and the same token.
"""

import asyncio
import hmac
import json
import random
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clusterctl.bootstrap import certificates, cluster_key, etcd_member, renewal, restoring
from clusterctl.bootstrap.facts import Facts, require_local
from clusterctl.bootstrap.first_server import Identity, context_text, open_admin, write_access
from clusterctl.bootstrap.layout import ENROLMENT_PORT, BootstrapError, Layout, write_file
from clusterctl.bootstrap.tokens import JoinToken
from reconciler.adapters.etcd.admin import EtcdMember
from reconciler.config import dump_config, load_config
from reconciler.ports.store import StoreError

ASK_TIMEOUT_S = 30.0
BUSY_WAIT_S = 60.0
ASK_TRIES = 5


async def join(
    layout: Layout,
    token: JoinToken,
    server: str,
    addresses: Sequence[str],
    *,
    discard_store: bool = False,
) -> tuple[Identity, bool]:
    """Enrol and write all files; returns who this is and whether it holds a store member."""
    layout.prepare()
    if discard_store:
        restoring.set_aside(layout)
    require_local(addresses)
    etcd_member.require_free_ports(layout, addresses)
    if layout.key("ca").exists():
        raise BootstrapError(
            "this server began a cluster itself (it holds a CA key), so can't join"
        )
    keys = {name: certificates.stored_key(layout, name) for name in ("server", "agent", "admin")}
    ca = await _fetch_ca(token)
    answer = await _enrol(
        token,
        ca,
        {
            "ask": "enrol",
            "token_id": token.token_id,
            "secret": token.secret,
            "server": server,
            "addresses": list(addresses),
            "requests": {
                name: certificates.make_request(key).decode() for name, key in keys.items()
            },
            "has_store_data": (layout.etcd_data / "member").exists(),
        },
    )
    identity = Identity(server, tuple(addresses))
    _write(layout, ca, identity, answer)
    return identity, answer["initial_cluster"] is not None


def _write(layout: Layout, ca: bytes, identity: Identity, answer: Mapping[str, Any]) -> None:
    facts = Facts.model_validate(answer["facts"])
    write_file(layout.certificate("ca"), ca)
    for name, text in answer["certificates"].items():
        if name not in ("server", "agent", "admin"):
            raise BootstrapError(f"the enrolment service sent an unknown certificate {name!r}")
        write_file(layout.certificate(name), text)
    admin = "admin" in answer["certificates"]
    if not admin:
        layout.key("admin").unlink(missing_ok=True)
    write_file(layout.cluster_key, answer["cluster_key"])
    write_file(layout.cluster_facts, facts.to_text())
    initial = answer["initial_cluster"]
    endpoints = tuple(answer["endpoints"])
    if initial is not None:
        endpoints = (etcd_member.client_url(identity.addresses[0]), *endpoints)
        if not (layout.etcd_data / "member").exists():
            text = etcd_member.member_config(
                layout, facts, identity.server, identity.addresses, initial
            )
            write_file(layout.etcd_config, text)
    # last: the supervisor starts the agent when this appears
    write_access(layout, facts.cluster, identity.server, endpoints, admin=admin)


async def wait_for_vote(layout: Layout, endpoints: Sequence[str], url: str, wait_s: float) -> bool:
    """Whether this server's store member got its vote within `wait_s`."""
    admin = open_admin(layout, endpoints, "agent")
    deadline = asyncio.get_running_loop().time() + wait_s
    try:
        while asyncio.get_running_loop().time() < deadline:
            try:
                members = await admin.members()
            except StoreError:
                members = ()
            if any(url in each.peer_urls and each.name and not each.learner for each in members):
                return True
            await asyncio.sleep(0.1)
        return False
    finally:
        await admin.close()


async def refresh(layout: Layout) -> tuple[tuple[str, ...], bool]:
    """Bring the endpoints of agent.yaml and context.yaml up to date with the store's members; own
    first. Returns them and whether anything changed."""
    config = load_config(layout.agent_config)
    admin = open_admin(layout, config.endpoints, "agent")
    try:
        members = await admin.members()
    finally:
        await admin.close()
    voting = sorted((each for each in members if each.name and not each.learner), key=_by_name)
    ordered = sorted(voting, key=lambda each: each.name != config.server)
    endpoints = tuple(each.client_urls[0] for each in ordered if each.client_urls)
    changed = bool(endpoints) and endpoints != config.endpoints
    if changed:
        write_file(
            layout.agent_config, dump_config(config.model_copy(update={"endpoints": endpoints}))
        )
        if layout.context.exists():
            write_file(layout.context, context_text(config.cluster, endpoints, Path("pki")))
    return endpoints or config.endpoints, changed


async def fetch_cluster_key(layout: Layout) -> bool:
    """Bring the keys of the heartbeats up to date with those of the first server; whether anything
    changed. Raises `BootstrapError`."""
    if layout.key("ca").exists():
        return False
    config = load_config(layout.agent_config)
    key = certificates.stored_key(layout, "agent")
    request = certificates.make_request(key).decode()
    ask = renewal.make_ask(layout, config.server, "cluster-key", request=request)
    answer = await ask_known(layout, config.endpoints, ask)
    try:
        keys = json.loads(answer["cluster_key"])["keys"]
        cluster_key.names(keys)
    except (ValueError, KeyError, TypeError) as error:
        raise BootstrapError("the enrolment service sent no cluster key") from error
    if layout.cluster_key.exists() and keys == cluster_key.read_keys(layout):
        return False
    cluster_key.write_keys(layout, keys)
    return True


def _by_name(member: EtcdMember) -> str:
    return member.name


async def _fetch_ca(token: JoinToken) -> bytes:
    """The cluster's CA, believed only because its fingerprint is the one in the token."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing but the CA is read, and that is verified below
    answer = await _ask_any(token.endpoints, context, {"ask": "ca"})
    try:
        ca = str(answer["ca"]).encode()
        digest = certificates.fingerprint(ca)
    except (KeyError, ValueError) as error:
        raise BootstrapError(
            f"{token.endpoints[0]} is not an enrolment service of this version"
        ) from error
    if not hmac.compare_digest(digest, token.ca_sha256):
        raise BootstrapError(
            f"{token.endpoints[0]} is not the cluster that made the token (another CA): somebody "
            "may be in between; nothing was sent to it"
        )
    return ca


async def _enrol(token: JoinToken, ca: bytes, request: dict[str, Any]) -> dict[str, Any]:
    """Ask until the service is free, at most `BUSY_WAIT_S`."""
    context = ssl.create_default_context(cadata=ca.decode())
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    deadline = asyncio.get_running_loop().time() + BUSY_WAIT_S
    while True:
        answer = await _ask_any(token.endpoints, context, request)
        if "error" not in answer:
            return answer
        if not answer.get("retry") or asyncio.get_running_loop().time() > deadline:
            raise BootstrapError(str(answer["error"]))
        await asyncio.sleep(0.2 + random.random() * 0.2)  # noqa: S311 (jitter, not a secret)


async def _ask_any(
    endpoints: Sequence[str], context: ssl.SSLContext, request: Mapping[str, Any]
) -> dict[str, Any]:
    failures = []
    for endpoint in endpoints:
        parts = urlsplit(endpoint)
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                return await _ask(parts.hostname or "", parts.port or 0, context, request)
        except TimeoutError:
            failures.append(f"{endpoint}: no answer within {ASK_TIMEOUT_S:.0f} s")
        except (OSError, ValueError) as error:
            failures.append(f"{endpoint}: {error}")
    raise BootstrapError(
        f"no enrolment service answers ({'; '.join(failures)}): is it running on the server that "
        "made the token, and is the network open?"
    )


async def ask_known(
    layout: Layout, endpoints: Sequence[str], ask: Mapping[str, Any]
) -> dict[str, Any]:
    """Ask the enrolment service of the cluster that this server belongs to; it runs beside one of
    the store's members. Raises `BootstrapError`, also for a refusal."""
    context = ssl.create_default_context(cafile=str(layout.certificate("ca")))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    hosts = [urlsplit(endpoint).hostname or "" for endpoint in endpoints]
    services = [f"https://{etcd_member.host(host)}:{ENROLMENT_PORT}" for host in hosts]
    for left in reversed(range(ASK_TRIES)):
        try:
            answer = await _ask_any(services, context, ask)
        except BootstrapError:
            if not left:
                raise
        else:
            if "error" not in answer:
                return answer
            if not left or not answer.get("retry"):
                raise BootstrapError(str(answer["error"]))
        # it begins anew when its own certificates were renewed
        await asyncio.sleep(1.0 + random.random())  # noqa: S311 (jitter, not a secret)
    raise BootstrapError("no enrolment service answers")


async def _ask(
    host: str, port: int, context: ssl.SSLContext, request: Mapping[str, Any]
) -> dict[str, Any]:
    reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=1 << 20)
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        await writer.drain()
        answer = json.loads(await reader.readline())
    finally:
        writer.close()
    if not isinstance(answer, dict):
        raise ValueError("the answer is not one of an enrolment service")
    return answer
