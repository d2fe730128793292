# mypy: disable-error-code="no-any-return"
"""One member over gRPC: the only module that imports grpc and aetcd's generated stubs.

Everything below is one attempt with its own deadline; it raises `AttemptFailed` and nothing else.
Used by `endpoints`, which decides about members, and by `watch`.
"""

import asyncio
import os
from dataclasses import dataclass
from typing import Any

# Its C core writes to stderr by itself; what matters arrives as an error here.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import grpc.aio
from aetcd import rpc

from reconciler.adapters.etcd.failure import AttemptFailed, Kind, classify
from reconciler.ports.store import Delete, KeyValue, Put, Transaction

# Fast reconnects; no proxies from the environment; nothing shared between channels. The server
# allows pings each 5 s at most (--grpc-keepalive-min-time).
_OPTIONS = (
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 700),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", 16 * 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)
# A member without a leader then answers so at once, instead of staying silent.
_NEEDS_LEADER = (("hasleader", "true"),)
_END_S = 1.0

_CALL_ERRORS = (grpc.RpcError, asyncio.InvalidStateError, asyncio.CancelledError)


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM contents."""

    ca: bytes
    cert: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Header:
    cluster_id: int
    member_id: int
    revision: int


@dataclass(frozen=True, slots=True)
class Page:
    header: Header
    items: tuple[KeyValue, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class TransactionAnswer:
    """`found` holds every compared key and the guard, when the compares failed."""

    header: Header
    succeeded: bool
    found: dict[str, KeyValue | None]


@dataclass(frozen=True, slots=True)
class LeaseAnswer:
    header: Header
    lease: int
    ttl_s: float


@dataclass(frozen=True, slots=True)
class MemberStatus:
    header: Header
    """Sizes are bytes: of the file, and of what is used in it."""

    leader_id: int
    errors: tuple[str, ...] = ()
    size: int = 0
    size_in_use: int = 0


@dataclass(frozen=True, slots=True)
class Member:
    member_id: int
    name: str
    client_urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WatchAnswer:
    header: Header
    created: bool
    canceled: bool
    compact_revision: int
    cancel_reason: str
    changes: tuple[tuple[int, str, KeyValue | None], ...]  # (revision, key, new state)


class Wire:
    """A channel to one member. `target` is "host:port"."""

    def __init__(self, target: str, credentials: Credentials | None) -> None:
        if credentials is None:
            self._channel: Any = grpc.aio.insecure_channel(target, options=_OPTIONS)
        else:
            tls = grpc.ssl_channel_credentials(credentials.ca, credentials.key, credentials.cert)
            self._channel = grpc.aio.secure_channel(target, tls, options=_OPTIONS)
        self._kv: Any = rpc.KVStub(self._channel)
        self._lease: Any = rpc.LeaseStub(self._channel)
        self._watch: Any = rpc.WatchStub(self._channel)
        self._cluster: Any = rpc.ClusterStub(self._channel)
        self._maintenance: Any = rpc.MaintenanceStub(self._channel)

    async def page(
        self,
        start: bytes,
        end: bytes | None,
        timeout_s: float,
        *,
        limit: int = 0,
        revision: int = 0,
    ) -> Page:
        """Linearizable range [start, end) or one key; `revision` 0 is the present."""
        request = rpc.RangeRequest(key=start, range_end=end, limit=limit, revision=revision)
        answer = await _unary(self._kv.Range, request, timeout_s)
        return Page(_header(answer), tuple(_key_value(kv) for kv in answer.kvs), answer.more)

    async def transact(self, transaction: Transaction, timeout_s: float) -> TransactionAnswer:
        keys = list(dict.fromkeys(compare.key for compare in transaction.compares))
        if transaction.guard is not None and transaction.guard not in keys:
            keys.append(transaction.guard)
        request = rpc.TxnRequest(
            compare=[
                rpc.Compare(
                    result=rpc.Compare.EQUAL,
                    target=rpc.Compare.MOD,
                    key=compare.key.encode(),
                    mod_revision=compare.mod_revision,
                )
                for compare in transaction.compares
            ],
            success=[_operation(operation) for operation in transaction.operations],
            failure=[
                rpc.RequestOp(request_range=rpc.RangeRequest(key=key.encode())) for key in keys
            ],
        )
        answer = await _unary(self._kv.Txn, request, timeout_s)
        found: dict[str, KeyValue | None] = {}
        if not answer.succeeded:
            for key, response in zip(keys, answer.responses, strict=True):
                items = response.response_range.kvs
                found[key] = _key_value(items[0]) if items else None
        return TransactionAnswer(_header(answer), answer.succeeded, found)

    async def grant(self, ttl_s: int, timeout_s: float) -> LeaseAnswer:
        answer = await _unary(self._lease.LeaseGrant, rpc.LeaseGrantRequest(TTL=ttl_s), timeout_s)
        return LeaseAnswer(_header(answer), answer.ID, float(answer.TTL))

    async def revoke(self, lease: int, timeout_s: float) -> None:
        await _unary(self._lease.LeaseRevoke, rpc.LeaseRevokeRequest(ID=lease), timeout_s)

    async def keep_alive(self, lease: int, timeout_s: float) -> LeaseAnswer:
        """Renew once; a lease that is gone is `LEASE_LOST`."""
        call = self._lease.LeaseKeepAlive(timeout=timeout_s, metadata=_NEEDS_LEADER)
        try:
            await call.write(rpc.LeaseKeepAliveRequest(ID=lease))
            answer = await call.read()
            if answer is grpc.aio.EOF:
                raise AttemptFailed(Kind.UNKNOWN, "the keep-alive stream ended")
        except _CALL_ERRORS as error:
            raise await _failure_of(call, error) from None
        finally:
            call.cancel()
        if answer.TTL <= 0:
            raise AttemptFailed(Kind.LEASE_LOST, f"lease {lease:x} does not exist any more")
        return LeaseAnswer(_header(answer), lease, float(answer.TTL))

    async def status(self, timeout_s: float) -> MemberStatus:
        """Answered by the member alone, with or without a leader."""
        answer = await _unary(self._maintenance.Status, rpc.StatusRequest(), timeout_s, metadata=())
        return MemberStatus(
            _header(answer), answer.leader, tuple(answer.errors), answer.dbSize, answer.dbSizeInUse
        )

    async def voting_members(self, timeout_s: float) -> tuple[Member, ...]:
        answer = await _unary(self._cluster.MemberList, rpc.MemberListRequest(), timeout_s)
        return tuple(
            Member(member.ID, member.name, tuple(member.clientURLs))
            for member in answer.members
            if not member.isLearner
        )

    async def move_leader(self, to_member_id: int, timeout_s: float) -> None:
        """Only the leader can do it."""
        request = rpc.MoveLeaderRequest(targetID=to_member_id)
        await _unary(self._maintenance.MoveLeader, request, timeout_s)

    async def compact(self, revision: int, timeout_s: float) -> None:
        """Forget the history before this revision, and return once its space is free inside."""
        request = rpc.CompactionRequest(revision=revision, physical=True)
        await _unary(self._kv.Compact, request, timeout_s)

    async def defragment(self, timeout_s: float) -> None:
        """Give free space back; this member stands still meanwhile."""
        await _unary(self._maintenance.Defragment, rpc.DefragmentRequest(), timeout_s)

    async def disarm_no_space(self, timeout_s: float) -> None:
        """Of all members. Those whose space is used up still raise the alarm again."""
        ask = rpc.AlarmRequest(action=rpc.AlarmRequest.GET)
        answer = await _unary(self._maintenance.Alarm, ask, timeout_s)
        for raised in answer.alarms:
            if raised.alarm == rpc.NOSPACE:
                off = rpc.AlarmRequest(
                    action=rpc.AlarmRequest.DEACTIVATE,
                    memberID=raised.memberID,
                    alarm=rpc.NOSPACE,
                )
                await _unary(self._maintenance.Alarm, off, timeout_s)

    def watch(self, prefix: str, start_revision: int) -> "WatchStream":
        call = self._watch.Watch(metadata=_NEEDS_LEADER)
        request = rpc.WatchRequest(
            create_request=rpc.WatchCreateRequest(
                key=prefix.encode(),
                range_end=prefix_end(prefix),
                start_revision=start_revision,
                progress_notify=True,
            )
        )
        return WatchStream(call, request)

    async def close(self, grace_s: float) -> None:
        await self._channel.close(grace_s or None)


class WatchStream:
    """One watch RPC. `read` must not be cancelled while it is to live on: gRPC ends the call."""

    def __init__(self, call: Any, create: Any) -> None:
        self._call = call
        self._create = create

    async def open(self) -> None:
        await self._write(self._create)

    async def ask_progress(self) -> None:
        """Ask for a sign of life; the answer comes through `read`."""
        await self._write(rpc.WatchRequest(progress_request=rpc.WatchProgressRequest()))

    async def read(self) -> WatchAnswer:
        try:
            answer = await self._call.read()
        except _CALL_ERRORS as error:
            raise await _failure_of(self._call, error) from None
        if answer is grpc.aio.EOF:
            raise AttemptFailed(Kind.UNKNOWN, "the member ended the watch")
        return WatchAnswer(
            _header(answer),
            answer.created,
            answer.canceled,
            answer.compact_revision,
            answer.cancel_reason,
            tuple(_change(event) for event in answer.events),
        )

    def cancel(self) -> None:
        self._call.cancel()

    async def _write(self, request: Any) -> None:
        try:
            await self._call.write(request)
        except _CALL_ERRORS as error:
            raise await _failure_of(self._call, error) from None


def prefix_end(prefix: str) -> bytes:
    """The first key after all keys that start with `prefix`, which must not be empty."""
    raw = prefix.encode()
    if not raw:
        raise ValueError("an empty prefix would be the whole store")
    return raw[:-1] + bytes([raw[-1] + 1])  # UTF-8 has no byte 0xff


async def _unary(
    method: Any, request: Any, timeout_s: float, metadata: tuple[Any, ...] = _NEEDS_LEADER
) -> Any:
    call = method(request, timeout=timeout_s, metadata=metadata)
    try:
        return await call
    except _CALL_ERRORS as error:
        raise await _failure_of(call, error) from None


async def _failure_of(call: Any, error: BaseException) -> AttemptFailed:
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise error
        # gRPC says it like this when the channel was closed under the call.
        return AttemptFailed(Kind.UNKNOWN, "the connection was closed on this side")
    try:
        # Both wait for the end of the call, which an error of its use is not.
        async with asyncio.timeout(_END_S):
            code, detail = await call.code(), await call.details()
    except TimeoutError:
        call.cancel()
        return AttemptFailed(Kind.UNKNOWN, f"{error} (the call does not end)")
    name = getattr(code, "name", str(code))
    return AttemptFailed(classify(name, detail or ""), f"{detail or error} ({name})")


def _operation(operation: Put | Delete) -> Any:
    if isinstance(operation, Put):
        return rpc.RequestOp(
            request_put=rpc.PutRequest(
                key=operation.key.encode(), value=operation.value, lease=operation.lease
            )
        )
    end = prefix_end(operation.key) if operation.prefix else b""
    return rpc.RequestOp(
        request_delete_range=rpc.DeleteRangeRequest(key=operation.key.encode(), range_end=end)
    )


def _header(answer: Any) -> Header:
    header = answer.header
    return Header(header.cluster_id, header.member_id, header.revision)


def _key_value(kv: Any) -> KeyValue:
    key = kv.key.decode("utf-8", "replace")
    return KeyValue(key, kv.value, kv.create_revision, kv.mod_revision, kv.lease)


def _change(event: Any) -> tuple[int, str, KeyValue | None]:
    stored = _key_value(event.kv)
    deleted = event.type == rpc.Event.DELETE
    return stored.mod_revision, stored.key, None if deleted else stored
