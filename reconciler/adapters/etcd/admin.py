"""Administration of an etcd cluster: members, users, roles, authentication.

Used by `clusterctl.bootstrap` only, as the user `root`. Every call is idempotent: what is there
already is fine, so that an interrupted init or join can be repeated.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aetcd.rpc as pb
import grpc
import grpc.aio

from reconciler.ports.store import Denied, Indeterminate, StoreError, Unavailable

CALL_TIMEOUT_S = 5.0
_DONE = ("already", "user name not found", "role name not found")


class TooManyLearners(StoreError):
    """Another server is joining: only one member may be catching up at a time."""


class NotCaughtUp(StoreError):
    """The learner is not in step with the leader yet, or has not started."""


@dataclass(frozen=True, slots=True)
class EtcdMember:
    """One member. `name` is empty until it has started for the first time."""

    member_id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    learner: bool


@dataclass(frozen=True, slots=True)
class Permission:
    """One grant of a role: a key prefix, or everything under it."""

    prefix: str
    write: bool


class EtcdAdmin:
    """Calls one endpoint after the other until one answers."""

    def __init__(self, endpoints: Sequence[str], ca: bytes, certificate: bytes, key: bytes) -> None:
        credentials = grpc.ssl_channel_credentials(ca, key, certificate)
        self._channels = [
            grpc.aio.secure_channel(endpoint.removeprefix("https://"), credentials)
            for endpoint in endpoints
        ]

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()

    async def members(self) -> tuple[EtcdMember, ...]:
        answer = await self._call(
            lambda channel: pb.ClusterStub(channel).MemberList, pb.MemberListRequest()
        )
        return tuple(_member(member) for member in answer.members)

    async def add_learner(self, peer_url: str) -> EtcdMember:
        """Add a member that has no vote yet, so that a joiner that never starts costs no quorum."""
        answer = await self._call(
            lambda channel: pb.ClusterStub(channel).MemberAdd,
            pb.MemberAddRequest(peerURLs=[peer_url], isLearner=True),
        )
        return _member(answer.member)

    async def promote(self, member_id: int) -> None:
        """Give a learner its vote; raises `NotCaughtUp` while it is behind."""
        await self._call(
            lambda channel: pb.ClusterStub(channel).MemberPromote,
            pb.MemberPromoteRequest(ID=member_id),
        )

    async def remove(self, member_id: int) -> None:
        await self._call(
            lambda channel: pb.ClusterStub(channel).MemberRemove,
            pb.MemberRemoveRequest(ID=member_id),
        )

    async def set_role(self, role: str, permissions: Sequence[Permission]) -> None:
        """Make the role and grant the permissions."""
        await self._auth("RoleAdd", pb.AuthRoleAddRequest(name=role))
        for permission in permissions:
            end = permission.prefix[:-1] + chr(ord(permission.prefix[-1]) + 1)
            kind = pb.Permission.READWRITE if permission.write else pb.Permission.READ
            grant = pb.Permission(
                permType=kind, key=permission.prefix.encode(), range_end=end.encode()
            )
            request = pb.AuthRoleGrantPermissionRequest(name=role, perm=grant)
            await self._auth("RoleGrantPermission", request)

    async def set_user(self, user: str, role: str) -> None:
        """Make a user that logs in by its certificate only, and give it the role."""
        options = pb.UserAddOptions(no_password=True)
        await self._auth("UserAdd", pb.AuthUserAddRequest(name=user, options=options))
        await self._auth("UserGrantRole", pb.AuthUserGrantRoleRequest(user=user, role=role))

    async def remove_user(self, user: str) -> None:
        """The user and the role of the same name; fine when there are none."""
        await self._auth("UserDelete", pb.AuthUserDeleteRequest(name=user))
        await self._auth("RoleDelete", pb.AuthRoleDeleteRequest(role=user))

    async def enable_auth(self) -> None:
        await self._auth("AuthEnable", pb.AuthEnableRequest())

    async def _auth(self, method: str, request: Any) -> Any:
        return await self._call(
            lambda channel: getattr(pb.AuthStub(channel), method), request, done_is_fine=True
        )

    async def _call(
        self,
        method: Callable[[Any], Callable[..., Awaitable[Any]]],
        request: Any,
        *,
        done_is_fine: bool = False,
    ) -> Any:
        last: StoreError = Unavailable("no endpoint of the store is known")
        for channel in self._channels:
            try:
                return await method(channel)(request, timeout=CALL_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if done_is_fine and any(word in (error.details() or "") for word in _DONE):
                    return None
                last = _store_error(error)
                if not isinstance(last, Unavailable):
                    raise last from error
        raise last

    async def wait_until_answers(self, timeout_s: float) -> None:
        """Return once a member answers; raises `Unavailable` after `timeout_s`."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            try:
                await self.members()
            except Unavailable:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.1)
            else:
                return


def _member(member: Any) -> EtcdMember:
    return EtcdMember(
        member.ID,
        member.name,
        tuple(member.peerURLs),
        tuple(member.clientURLs),
        member.isLearner,
    )


def _store_error(error: grpc.aio.AioRpcError) -> StoreError:
    details = error.details() or ""
    code = error.code()
    if "too many learner" in details:
        return TooManyLearners(details)
    if "in sync with leader" in details or "learner" in details:
        return NotCaughtUp(details)
    if code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
        return Denied(details)
    if code == grpc.StatusCode.UNAVAILABLE:
        return Unavailable(details)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return Indeterminate(details)
    return StoreError(f"{code.name}: {details}")
