"""Who votes, who of them answers, who leads. Used by `EtcdStore`."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

from reconciler.adapters.etcd.calls import Calls
from reconciler.adapters.etcd.endpoints import Endpoint, Endpoints, Watermark
from reconciler.adapters.etcd.failure import AttemptFailed, store_error
from reconciler.adapters.etcd.wire import Member, Wire
from reconciler.ports.clock import Clock
from reconciler.ports.store import DAMAGED, NO_SPACE, MemberHealth, StoreError, Unavailable

_LEARN_AGAIN_S = 10.0
_ALARMS = (
    ("alarm:NOSPACE", NO_SPACE),
    ("alarm:CORRUPT", DAMAGED),
)


class Members:
    """Names and addresses come from the member list, health from each member by itself."""

    def __init__(
        self, endpoints: Endpoints, calls: Calls, watermark: Watermark, clock: Clock
    ) -> None:
        self._endpoints = endpoints
        self._calls = calls
        self._watermark = watermark
        self._clock = clock
        self._known: tuple[Member, ...] = ()
        self._learn_at = 0.0

    async def health(self, timeout_s: float) -> tuple[MemberHealth, ...]:
        """By server name. Before the member list was ever read, hosts stand for the names."""
        if not self._known:
            await self._learn(timeout_s / 2)
            return await self._ask_all(timeout_s / 2)
        if asyncio.get_running_loop().time() < self._learn_at:
            return await self._ask_all(timeout_s)
        found, _ = await asyncio.gather(self._ask_all(timeout_s), self._learn(timeout_s))
        return found

    async def _learn(self, timeout_s: float) -> None:
        async def send(wire: Wire, budget_s: float) -> tuple[Member, ...]:
            return await wire.voting_members(budget_s)

        try:
            self._known = await self._calls.in_turn("list members", send, timeout_s)
        except StoreError:
            return  # the last known members are asked; each of them says how it is
        self._learn_at = asyncio.get_running_loop().time() + _LEARN_AGAIN_S

    def _addresses(self) -> Sequence[tuple[str, str]]:
        """(server, URL) of each voting member, through a configured URL where there is one."""
        configured = [endpoint.url for endpoint in self._endpoints.configured()]
        if not self._known:
            return [(urlsplit(url).hostname or url, url) for url in configured]
        return [
            (member.name, next((url for url in configured if url in member.client_urls), urls[0]))
            for member in sorted(self._known, key=lambda member: member.name)
            if (urls := member.client_urls)
        ]

    async def _ask_all(self, timeout_s: float) -> tuple[MemberHealth, ...]:
        asked = [
            self._ask(server, self._endpoints.endpoint(url), timeout_s)
            for server, url in self._addresses()
        ]
        return tuple(await asyncio.gather(*asked))

    async def _ask(self, server: str, endpoint: Endpoint, timeout_s: float) -> MemberHealth:
        try:
            status = await endpoint.wire().status(timeout_s)
            self._watermark.same_cluster(status.header)
        except AttemptFailed:
            return MemberHealth(server, endpoint.url, False, False, self._clock.now())
        leads = status.leader_id != 0 and status.leader_id == status.header.member_id
        alarm = next((text for word, text in _ALARMS if any(word in e for e in status.errors)), "")
        return MemberHealth(server, endpoint.url, True, leads, self._clock.now(), alarm)

    async def move_leader(self, server: str, timeout_s: float) -> None:
        """See `EtcdStore.move_leader`."""
        for health in await self.health(timeout_s):
            if not health.is_leader:
                continue
            target = next((m.member_id for m in self._known if m.name == server), None)
            if health.server == server:
                return
            if target is not None:
                wire = self._endpoints.endpoint(health.endpoint).wire()
                try:
                    await wire.move_leader(target, timeout_s)
                except AttemptFailed as failure:
                    raise store_error([failure], f"move the lead to {server}") from None
                return
        raise Unavailable(f"move the lead to {server}: no leader or no such member")
