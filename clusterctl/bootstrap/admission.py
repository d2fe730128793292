"""Who may join, renew or fetch a key, and what it gets: the decisions of the enrolment service.

Private keys never come here; a request carries public keys and proof that the joiner holds theirs.
"""

import asyncio
import hmac
import ipaddress
import logging
import secrets
import time
from collections.abc import Mapping
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clusterctl.bootstrap import certificates, etcd_member, renewal, tokens
from clusterctl.bootstrap.facts import Facts, by_network
from clusterctl.bootstrap.layout import BootstrapError
from reconciler.adapters.etcd.admin import EtcdMember, NotCaughtUp, TooManyLearners
from reconciler.decide.keys import Keys
from reconciler.decide.records import Record
from reconciler.ports.store import Put, Store, StoreError, Transaction, Unchanged
from specs.scalars import Name

STORE_MEMBER_LIMIT = 5  # more voters make each write slower and outlive no more failures
PROMOTE_INTERVAL_S = 0.2

log = logging.getLogger("enrolment")


class EnrolRequest(BaseModel):
    """What a joiner asks for: who it is, its addresses (first = store network), its requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ask: str
    token_id: str = Field(pattern=r"^[0-9a-f]{1,64}$")
    secret: str = Field(max_length=200)
    server: Name
    addresses: tuple[str, ...] = Field(min_length=1, max_length=16)
    requests: dict[str, str]
    has_store_data: bool = False


class RenewRequest(BaseModel):
    """What a server asks for whose certificates end; `admin` is its present one of that name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ask: str
    server: Name
    requests: dict[str, str]
    admin: str | None = Field(default=None, max_length=16_384)
    at: float
    nonce: str = Field(max_length=64)
    signature: str = Field(max_length=400)


class KeyRequest(BaseModel):
    """A server's wish for the keys of the heartbeats; `request` carries its agent's public key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ask: str
    server: Name
    request: str = Field(max_length=16_384)
    at: float
    nonce: str = Field(max_length=64)
    signature: str = Field(max_length=400)


class ServerRecord(Record):
    """tokens/server-<name>: which key a server joined with, so that nobody else takes its name."""

    server: str
    key_digest: str
    addresses: tuple[str, ...]


class Admin(etcd_member.Access, Protocol):
    """The part of `EtcdAdmin` that enrolment uses."""

    async def members(self) -> tuple[EtcdMember, ...]: ...
    async def add_learner(self, peer_url: str) -> EtcdMember: ...
    async def promote(self, member_id: int) -> None: ...
    async def remove(self, member_id: int) -> None: ...


class Busy(BootstrapError):
    """Another server is joining right now: ask again in a moment."""


class Enrolment:
    """Decides about requests. Free of sockets, so that tests drive it directly."""

    def __init__(
        self,
        authority: certificates.Authority,
        facts: Facts,
        cluster_key: bytes,
        store: Store,
        admin: Admin,
    ) -> None:
        self._authority = authority
        self._facts = facts
        self._cluster_key = cluster_key
        self._store = store
        self._admin = admin
        self._keys = Keys(facts.cluster)
        self._one_at_a_time = asyncio.Lock()
        self.joining = asyncio.Event()
        self.replaced = asyncio.Event()  # behind the endpoints is another, restored store

    async def answer(self, ask: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request; refusals are answers too, with an `error`."""
        try:
            if ask.get("ask") == "ca":
                return {"ca": self._authority.pem.decode()}
            if ask.get("ask") == "renew":
                return await self._renew(ask)
            if ask.get("ask") == "cluster-key":
                return await self._hand_out_key(ask)
            request = EnrolRequest.model_validate(ask)
            async with self._one_at_a_time:
                return await self._enrol(request)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            return {"error": f"the request is not valid: {where}: {first['msg']}"}
        except Busy as error:
            return {"error": str(error), "retry": True}
        except BootstrapError as error:
            return {"error": str(error)}
        except StoreError as error:
            log.warning("the store refused: %s", error)
            if getattr(self._store, "is_replaced", False):
                self.replaced.set()
            return {"error": f"the cluster's store does not answer ({error})", "retry": True}

    async def _enrol(self, request: EnrolRequest) -> dict[str, Any]:
        wanted = {
            name: certificates.request_key(text.encode()) for name, text in request.requests.items()
        }
        if not {"server", "agent"} <= set(wanted) <= {"server", "agent", "admin"}:
            raise BootstrapError("requests for server, agent and optionally admin are needed")
        digest = certificates.public_key_digest(wanted["agent"])
        token = await self._admit(request, digest)
        await etcd_member.admit_agent(self._admin, self._keys, request.server)
        initial, endpoints = await self._store_member(request, replace=token.replace)
        signed = {
            "server": certificates.sign_server(
                self._authority, wanted["server"], request.server, request.addresses
            ),
            "agent": certificates.sign_client(
                self._authority, wanted["agent"], certificates.agent_user(request.server)
            ),
        }
        if token.admin and "admin" in wanted:
            signed["admin"] = certificates.sign_client(
                self._authority, wanted["admin"], certificates.ADMIN_USER
            )
        log.info("server %s enrolled", request.server)
        return {
            "facts": self._facts.model_dump(),
            "cluster_key": self._cluster_key.decode(),
            "certificates": {name: pem.decode() for name, pem in signed.items()},
            "endpoints": endpoints,
            "initial_cluster": initial,
        }

    async def _renew(self, ask: Mapping[str, Any]) -> dict[str, Any]:
        """New certificates for a server that joined: for the keys that it has, never for others."""
        request = RenewRequest.model_validate(ask)
        wanted = {
            name: certificates.request_key(text.encode()) for name, text in request.requests.items()
        }
        if not {"server", "agent"} <= set(wanted) <= {"server", "agent", "admin"}:
            raise BootstrapError("requests for server, agent and optionally admin are needed")
        renewal.verify_request(wanted["agent"], ask, time.time())
        found = await self._store.get(self._keys.token(f"server-{request.server}"))
        known = ServerRecord.from_bytes(found.value) if found else None
        digest = certificates.public_key_digest(wanted["agent"])
        if known is None or not hmac.compare_digest(known.key_digest, digest):
            raise BootstrapError(
                f"no server {request.server} joined with this key: join it again with a token"
            )
        renewal.require_living_authority(self._authority)
        user = certificates.agent_user(request.server)
        signed = {
            "server": certificates.sign_server(
                self._authority, wanted["server"], request.server, known.addresses
            ),
            "agent": certificates.sign_client(self._authority, wanted["agent"], user),
        }
        if "admin" in wanted:
            renewal.require_former_admin(self._authority, wanted["admin"], request.admin)
            signed["admin"] = certificates.sign_client(
                self._authority, wanted["admin"], certificates.ADMIN_USER
            )
        log.info("certificates of %s renewed", request.server)
        return {"certificates": {name: pem.decode() for name, pem in signed.items()}}

    async def _hand_out_key(self, ask: Mapping[str, Any]) -> dict[str, Any]:
        """The keys of the heartbeats, to a server that joined and signs with its agent's key."""
        request = KeyRequest.model_validate(ask)
        key = certificates.request_key(request.request.encode())
        renewal.verify_request(key, ask, time.time())
        found = await self._store.get(self._keys.token(f"server-{request.server}"))
        known = ServerRecord.from_bytes(found.value) if found else None
        digest = certificates.public_key_digest(key)
        if known is None or not hmac.compare_digest(known.key_digest, digest):
            raise BootstrapError(
                f"no server {request.server} joined with this key: join it again with a token"
            )
        log.info("server %s fetched the cluster key", request.server)
        return {"cluster_key": self._cluster_key.decode()}

    async def _admit(self, request: EnrolRequest, digest: str) -> tokens.StoredToken:
        """Check the token and bind it, and the server's name, to the joiner's key: atomically."""
        token_key = self._keys.token(request.token_id)
        found = await self._store.get(token_key)
        if found is None:
            raise BootstrapError(f"the token is not known here; {tokens.NEXT}")
        token = tokens.StoredToken.from_bytes(found.value)
        token.check(request.secret, request.server, digest, time.time())
        by_network(self._facts.networks, request.addresses)
        record_key = self._keys.token(f"server-{request.server}")
        previous = await self._store.get(record_key)
        await self._refuse_taken(request, digest, previous.value if previous else None, token)
        nonce = secrets.token_hex(8)
        used = token.model_copy(
            update={"nonce": nonce, "used_by": request.server, "used_by_key": digest}
        )
        record = ServerRecord(
            nonce=nonce, server=request.server, key_digest=digest, addresses=request.addresses
        )
        result = await self._store.commit(
            Transaction(
                (
                    Unchanged(token_key, found.mod_revision),
                    Unchanged(record_key, previous.mod_revision if previous else 0),
                ),
                (
                    Put(token_key, used.to_bytes(), found.lease),
                    Put(record_key, record.to_bytes()),
                ),
                guard=token_key,
            )
        )
        if not result.succeeded:
            raise Busy("another server used the same token at the same moment; try again")
        return token

    async def _refuse_taken(
        self,
        request: EnrolRequest,
        digest: str,
        previous: bytes | None,
        token: tokens.StoredToken,
    ) -> None:
        """Refuse a name or an address that another machine has."""
        if previous is not None and not token.replace:
            known = ServerRecord.from_bytes(previous)
            if known.key_digest != digest:
                raise BootstrapError(
                    f"a server named {request.server} joined before with another key; if this "
                    "machine replaces it: clusterctl cluster token --replace"
                )
        listing = await self._store.list(self._keys.token("server-"))
        taken = {
            _normal(address): record.server
            for record in (ServerRecord.from_bytes(item.value) for item in listing.items)
            for address in record.addresses
        }
        for address in request.addresses:
            other = taken.get(_normal(address), request.server)
            if other != request.server:
                raise BootstrapError(f"address {address} belongs to server {other}")

    async def _store_member(
        self, request: EnrolRequest, *, replace: bool
    ) -> tuple[dict[str, str] | None, list[str]]:
        """(members to start etcd with, or None for a server without one; endpoints of the rest)."""
        url = etcd_member.peer_url(request.addresses[0])
        members = await self._admin.members()
        mine = next((each for each in members if url in each.peer_urls), None)
        if mine is not None and mine.name and not request.has_store_data:
            if not replace:
                raise BootstrapError(
                    f"the store knows {request.server} as a member, but this machine lost the "
                    "member's data: clusterctl cluster token --replace"
                )
            await self._admin.remove(mine.member_id)
            mine = None
        others = [each for each in members if url not in each.peer_urls]
        if mine is None and len(others) < STORE_MEMBER_LIMIT:
            try:
                mine = await self._admin.add_learner(url)
            except TooManyLearners as error:
                raise Busy("another server is joining; try again") from error
        self.joining.set()
        endpoints = [address for each in others for address in each.client_urls[:1]]
        if mine is None:
            return None, endpoints
        return {each.name: each.peer_urls[0] for each in others if each.name}, endpoints

    async def promote_learners(self) -> None:
        """For ever: give members that joined and caught up their vote."""
        while True:
            await self._notice_replaced()
            try:
                learners = [each for each in await self._admin.members() if each.learner]
                for learner in learners:
                    if learner.name:
                        await self._admin.promote(learner.member_id)
                        log.info("store member %s has a vote now", learner.name)
                if not learners:
                    self.joining.clear()
            except NotCaughtUp:
                pass  # tried again in a moment
            except StoreError as error:
                log.warning("members can not be looked after now: %s", error)
            idle_s = PROMOTE_INTERVAL_S if self.joining.is_set() else 10.0
            try:
                await asyncio.wait_for(self._wait_for_joiner(idle_s), idle_s)
            except TimeoutError:
                continue

    async def _notice_replaced(self) -> None:
        """Without a joiner nobody else would find out that the store is another one."""
        try:
            await self._store.get(self._keys.head)
        except StoreError:
            if getattr(self._store, "is_replaced", False):
                self.replaced.set()

    async def _wait_for_joiner(self, idle_s: float) -> None:
        if self.joining.is_set():
            await asyncio.sleep(idle_s)
        await self.joining.wait()


def _normal(address: str) -> str:
    return str(ipaddress.ip_address(address))
