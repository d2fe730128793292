"""Makes room in a store whose space is used up (alarm NOSPACE): `clusterctl store repair`.

History goes first, then each member gives its free space back, one at a time and the leader last,
after it has handed its lead to one that is done: a member stands still meanwhile. The alarm comes
off at the end. Nothing that is stored now is touched.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from reconciler.adapters.etcd.endpoints import Endpoint, TlsFiles
from reconciler.adapters.etcd.failure import AttemptFailed, Kind, store_error
from reconciler.adapters.etcd.wire import Member, MemberStatus
from reconciler.ports.store import Unavailable

CALL_S = 5.0
COMPACT_S = 60.0
DEFRAGMENT_S = 120.0
_LEAD_S = 5.0


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of one member: its file, and what is used in it."""

    server: str
    size: int
    used: int


@dataclass(frozen=True, slots=True)
class _Place:
    member: Member
    endpoint: Endpoint
    status: MemberStatus

    @property
    def leads(self) -> bool:
        return self.status.leader_id == self.member.member_id

    @property
    def usage(self) -> Usage:
        return Usage(self.member.name, self.status.size, self.status.size_in_use)


class StoreSpace:
    """`endpoints`: URLs of the store. Needs the administrator's certificate."""

    def __init__(self, endpoints: Sequence[str], tls: TlsFiles | None) -> None:
        self._urls, self._tls = tuple(endpoints), tls
        self._known: dict[str, Endpoint] = {}

    def _endpoint(self, url: str) -> Endpoint:
        return self._known.setdefault(url, Endpoint(url, self._tls))

    async def close(self) -> None:
        for endpoint in self._known.values():
            await endpoint.close()

    async def repair(
        self, tell: Callable[[str], None]
    ) -> tuple[tuple[Usage, ...], tuple[Usage, ...]]:
        """(before, after), by server. `tell` gets a sentence for each step.

        Raises `StoreError`; what was done until then stays done, and it may be called again.
        """
        places = await self._places()
        before = tuple(place.usage for place in places)
        await self._forget_history(places, tell)
        done: list[_Place] = []
        for place in sorted(places, key=lambda one: one.leads):
            if place.leads and done:
                await self._hand_over(place, done[0], tell)
            tell(f"{place.member.name} gives free space back")
            await self._call(place, "defragment", place.endpoint.wire().defragment(DEFRAGMENT_S))
            done.append(place)
        await self._call(done[0], "disarm", done[0].endpoint.wire().disarm_no_space(CALL_S))
        return before, tuple(place.usage for place in await self._places())

    async def _places(self) -> list[_Place]:
        """All voting members: a member that is away keeps its full file, and raises the alarm
        again when it is back. Raises `Unavailable`."""
        members = await self._members()
        found = []
        for member in sorted(members, key=lambda one: one.name):
            own = [url for url in self._urls if url in member.client_urls]
            if not (own or member.client_urls):
                raise Unavailable(f"{member.name} has never started")
            endpoint = self._endpoint((own or list(member.client_urls))[0])
            try:
                status = await endpoint.wire().status(CALL_S)
            except AttemptFailed as failure:
                text = f"{member.name} does not answer, and all members must: {failure}"
                raise Unavailable(text) from None
            found.append(_Place(member, endpoint, status))
        if not any(place.status.leader_id for place in found):
            raise Unavailable("the store has no leader")
        return found

    async def _members(self) -> tuple[Member, ...]:
        failures: list[AttemptFailed] = []
        for url in self._urls:
            try:
                return await self._endpoint(url).wire().voting_members(CALL_S)
            except AttemptFailed as failure:
                failures.append(failure)
        raise store_error(failures, "list members")

    async def _forget_history(self, places: Sequence[_Place], tell: Callable[[str], None]) -> None:
        place = max(places, key=lambda one: one.status.header.revision)
        revision = place.status.header.revision
        tell(f"the history before revision {revision} is forgotten")
        try:
            await place.endpoint.wire().compact(revision, COMPACT_S)
        except AttemptFailed as failure:
            if failure.kind is not Kind.COMPACTED:  # else it is forgotten already
                raise store_error([failure], "compact") from None

    async def _hand_over(self, place: _Place, to: _Place, tell: Callable[[str], None]) -> None:
        """So that writes do not stand still. It leads still if that fails: slower, not wrong."""
        try:
            status = await place.endpoint.wire().status(CALL_S)
            if status.leader_id == place.member.member_id:
                await place.endpoint.wire().move_leader(to.member.member_id, _LEAD_S)
        except AttemptFailed as failure:
            tell(f"{place.member.name} goes on leading: {failure}")

    async def _call(self, place: _Place, what: str, call: Awaitable[None]) -> None:
        try:
            await call
        except AttemptFailed as failure:
            raise store_error([failure], f"{what} {place.member.name}") from None
