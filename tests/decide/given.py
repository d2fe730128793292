"""What tests of `decide` say of a cluster: its specs, what is heard, stored and local."""

from collections.abc import Iterable
from typing import Any, Self

from reconciler.decide.hearing import PathView, PeerView
from reconciler.decide.mirror_status import MirrorStatus
from reconciler.decide.records import (
    Answer,
    Challenge,
    Coordinator,
    Failure,
    FenceIntent,
    FenceOutcome,
    FenceRecord,
    GroupStatus,
    MirrorRecord,
    MonitorState,
    MonitorStatus,
    Operation,
    OperationKind,
    OperationPhase,
    Ownership,
    Phase,
    Record,
    Release,
    ResourceStatus,
    Session,
    StoreLife,
    Verdict,
)
from reconciler.decide.snapshot import (
    KnownStore,
    LocalFence,
    LocalGroup,
    LocalProbe,
    OwnSession,
    Stored,
    StoreMember,
)
from specs.document import Metadata
from specs.group import Group
from specs.monitor import Monitor, MonitorSpec
from specs.resource import Resource
from specs.server import Server
from specs.server_group import ServerGroup
from tests.decide.names import NOW, WALL, Mirrored, Plain, agent, boot

# run/<area>/<name> -> where the scene keeps it.
AREAS = {
    "sessions": "sessions",
    "groups": "ownerships",
    "releases": "releases",
    "fences": "fences",
    "verdicts": "verdicts",
    "operations": "operations",
    "challenges": "challenges",
    "answers": "answers",
    "cordons": "cordons",
    "holds": "holds",
    "mirrors": "mirrors",
}


class Given:
    """What a snapshot is made of. Every method changes it and returns it."""

    def __init__(self, me: str = "n1", servers: Iterable[str] = ("n1", "n2", "n3")) -> None:
        self.me = me
        self.now, self.wall = NOW, WALL
        self.revision = 100
        self.cluster: dict[str, Any] = {}
        self.servers: dict[str, Server] = {}
        self.server_groups: dict[str, ServerGroup] = {}
        self.groups: dict[str, Group] = {}
        self.resources: dict[str, Resource] = {}
        self.monitors: dict[str, Monitor] = {}
        self.monitor_status: dict[tuple[str, str], MonitorStatus] = {}
        self.mirror_status: dict[tuple[str, str], MirrorStatus] = {}
        self.tables: dict[str, dict[str, Stored[Any]]] = {area: {} for area in AREAS.values()}
        self.coordinator: Stored[Coordinator] | None = None
        self.fence_slot: Stored[FenceIntent] | None = None
        self.store_life: Stored[StoreLife] | None = None
        self.store_id = ""
        self.known_store: KnownStore | None = None
        self.own_session: OwnSession | None = None
        self.peers: dict[str, PeerView] = {}
        self.pulse: dict[str, Any] = {"pulse_alive": True}
        self.members: tuple[StoreMember, ...] = ()
        self.local_groups: dict[str, LocalGroup] = {}
        self.dropped: dict[str, int] = {}
        self.local_fences: dict[str, LocalFence] = {}
        self.local_probes: dict[str, LocalProbe] = {}
        self.local_power_ons: dict[str, float] = {}
        self.group_status: dict[tuple[str, str], GroupStatus] = {}
        self.unreadable: set[str] = set()
        self.absent_since: dict[str, float] = {}
        self.complete_since: float | None = NOW - 1000.0
        self.proof_at = NOW - 0.5
        for name in servers:
            self.server(name).session(name)
            if name != me:
                self.hear(name)
        self.members_answer(*servers)
        self.lead("n1")
        self.group("web")

    # -- specs -------------------------------------------------------------------------------

    def server(self, name: str, levels: int = 1, after: str = "on") -> Self:
        number = len(self.servers) + 1
        fencing = {
            "levels": [{"type": "plain", "guid": f"guid-{name}"}] * levels,
            "afterFence": after,
        }
        spec = {
            "addresses": {"private": f"10.0.0.{number}"},
            **({"fencing": fencing} if levels else {}),
        }
        self.servers[name] = Server.model_validate({"metadata": {"name": name}, "spec": spec})
        return self

    def group(self, name: str, **spec: Any) -> Self:
        self.groups[name] = Group.model_validate({"metadata": {"name": name}, "spec": spec})
        return self

    def server_group(self, name: str, *servers: str) -> Self:
        self.server_groups[name] = ServerGroup.model_validate(
            {"metadata": {"name": name}, "spec": {"servers": list(servers)}}
        )
        return self

    def resource(self, name: str, group: str = "web", address: str = "") -> Self:
        self.resources[name] = Resource.model_validate(
            {"metadata": {"name": name}, "spec": Plain(group=group, address=address)}
        )
        return self

    def mirrored(self, name: str = "data", group: str = "web", **spec: Any) -> Self:
        self.resources[name] = Resource.model_validate(
            {"metadata": {"name": name}, "spec": Mirrored(group=group, **spec)}
        )
        return self

    def copies(self, *holders: str, name: str = "data", **more: Any) -> Self:
        """The record says that these have all acknowledged data of the mirror."""
        values = {"resource": name, "servers": holders, "generation": "g1", "epoch": 1}
        return self.put("mirrors", name, MirrorRecord(**(values | more)))

    def side(self, server: str, name: str = "data", **more: Any) -> Self:
        """What a server says of its side of the mirror."""
        values = {"resource": name, "server": server, "boot_id": boot(server), "generation": "g1"}
        self.mirror_status[server, name] = MirrorStatus(**(values | more))
        return self

    def monitor(self, name: str, target: str = "group/web", **states: str) -> Self:
        """Probes always, everywhere; `states` are what servers say of it, as n1="faulty"."""
        spec = MonitorSpec(type="plain", target=target, timing="always")
        self.monitors[name] = Monitor(metadata=Metadata(name=name), spec=spec)
        for server, state in states.items():
            self.monitor_status[server, name] = MonitorStatus(
                monitor=name, server=server, state=MonitorState(state), reason="no route"
            )
        return self

    # -- what is heard -----------------------------------------------------------------------

    def hear(self, name: str, *, boot_id: str | None = None, sees: Iterable[str] = ()) -> Self:
        at = self.now - 0.02
        self.peers[name] = PeerView(
            name,
            {"private": PathView(at, 0)},
            at,
            suspect=False,
            silent=False,
            boot_id=boot_id or boot(name),
            sees_silent=frozenset(sees),
            store="quorum",
            agent_alive=True,
        )
        return self

    def suspect(self, name: str, missed: int = 2) -> Self:
        at = self.now - 0.05 * missed
        silent = missed >= 4
        path = {"private": PathView(at, missed)}
        self.peers[name] = PeerView(name, path, at, True, silent, boot(name))
        return self

    def silence(self, name: str, since: float = 1.0, agreed: bool = True) -> Self:
        """All servers that are heard miss it too, unless not `agreed`."""
        at = self.now - since
        path = {"private": PathView(at, 1000)}
        self.peers[name] = PeerView(name, path, at, True, True, boot(name))
        for other, peer in list(self.peers.items()):
            if other != name and not peer.suspect:
                sees = set(peer.sees_silent) | ({name} if agreed else set())
                self.hear(other, boot_id=peer.boot_id, sees=sees)
        return self

    def never_heard(self, name: str) -> Self:
        """Silent since this server's pulse began; the others do not hear it either."""
        self.silence(name)
        self.peers[name] = PeerView(name, {"private": PathView(None, 10_000)}, None, True, True)
        return self

    # -- what is stored ----------------------------------------------------------------------

    def put(self, area: str, name: str, record: Record, age: float = 5.0) -> Self:
        self.revision += 1
        self.tables[area][name] = Stored(record, self.revision, self.now - age)
        return self

    def session(
        self, name: str, boot_id: str | None = None, age: float = 100.0, **more: Any
    ) -> Self:
        record = Session(
            nonce=agent(name),
            server=name,
            boot_id=boot_id or boot(name),
            incarnation=agent(name),
            lease=1,
            **more,
        )
        self.put("sessions", name, record, age)
        if name == self.me:
            self.own_session = OwnSession(agent(name), 1, self.revision, self.now + 9)
        return self

    def no_session(self, name: str) -> Self:
        del self.tables["sessions"][name]
        self.absent_since[name] = self.now
        if name == self.me:
            self.own_session = None
        return self

    def lead(self, name: str | None, incarnation: str | None = None) -> Self:
        """`name` is coordinator; None: nobody is."""
        self.revision += 1
        record = Coordinator(server=name or "", incarnation=incarnation or agent(name or ""))
        self.coordinator = Stored(record, self.revision, self.now - 100) if name else None
        return self

    def own(self, server: str | None, group: str = "web", epoch: int = 1, **more: Any) -> Self:
        more = {
            "boot_id": boot(server) if server else "",
            "incarnation": agent(server) if server else "",
            **more,
        }
        return self.put(
            "ownerships", group, Ownership(group=group, epoch=epoch, owner=server, **more)
        )

    def release(
        self, server: str, group: str = "web", epoch: int = 1, cause: str = "released"
    ) -> Self:
        record = Release(group=group, epoch=epoch, server=server, boot_id=boot(server), cause=cause)
        return self.put("releases", group, record)

    def fenced(
        self,
        server: str,
        outcome: FenceOutcome = FenceOutcome.CONFIRMED_OFF,
        covers: Iterable[str] | None = None,
        age: float = 1.0,
        **more: Any,
    ) -> Self:
        record = FenceRecord(
            server=server,
            covers=tuple(covers) if covers is not None else (boot(server),),
            outcome=outcome,
            executor="n1",
            **more,
        )
        return self.put("fences", server, record, age)

    def slot(self, victim: str, executor: str = "n1", age: float = 0.1, **more: Any) -> Self:
        values: dict[str, Any] = {
            "nonce": "intent",
            "victim": victim,
            "covers": (boot(victim),),
            "executor": executor,
            "executor_incarnation": agent(executor),
            "level": 0,
            "attempt": 1,
            "valid_for_s": 10.0,
            "requested_by": "n1",
            "reason": "silent and unanswered",
            "counts_from": self.now - age,
        }
        self.revision += 1
        record = FenceIntent(**(values | more))
        self.fence_slot = Stored(record, self.revision, self.now - age)
        return self

    def challenge(
        self, server: str, age: float = 0.2, nonce: str = "c1", deaf: bool = False
    ) -> Self:
        record = Challenge(nonce=nonce, server=server, challenger="n1", deaf=deaf)
        return self.put("challenges", server, record, age)

    def answer(self, server: str, nonce: str = "c1", age: float = 0.0) -> Self:
        record = Answer(nonce=nonce, server=server, boot_id=boot(server))
        return self.put("answers", server, record, age)

    def operation(
        self,
        kind: OperationKind,
        target: str,
        id: str = "01",  # noqa: A002
        phase: OperationPhase = OperationPhase.PENDING,
        **more: Any,
    ) -> Self:
        record = Operation(id=id, kind=kind, target=target, phase=phase, who="alice", **more)
        return self.put("operations", id, record)

    def failed(self, server: str, group: str = "web", epoch: int = 1, ago: float = 10) -> Self:
        """The group's verdict remembers one more failure."""
        old = self.tables["verdicts"].get(group)
        known = old.record.failures if old else ()
        failure = Failure(server=server, epoch=epoch, reason="it broke", at_wall=self.wall - ago)
        record = Verdict(group=group, phase=Phase.ONLINE, failures=(*known, failure))
        return self.put("verdicts", group, record)

    def members_answer(self, *answering: str) -> Self:
        """Voting members are on all servers; these answered just now."""
        self.members = tuple(
            StoreMember(name, self.now - 0.01 if name in answering else None)
            for name in self.servers
        )
        return self

    def status(
        self,
        server: str,
        epoch: int,
        group: str = "web",
        phase: Phase = Phase.ONLINE,
        **states: str,
    ) -> Self:
        resources = tuple(
            ResourceStatus(name=n.replace("_", "-"), type="plain", state=s)
            for n, s in states.items()
        )
        self.group_status[server, group] = GroupStatus(
            group=group, server=server, epoch=epoch, phase=phase, resources=resources
        )
        return self

    # -- what is local -----------------------------------------------------------------------

    def local(self, group: str, phase: Phase, epoch: int = 1, **more: str) -> Self:
        self.local_groups[group] = LocalGroup(group, epoch, phase, **more)
        return self
