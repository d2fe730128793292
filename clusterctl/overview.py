"""The verdict on the whole cluster: what needs attention, worst first. Pure; `status` prints it."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from clusterctl.picture import Picture
from reconciler.decide.cordon_words import cordon_words, undrain
from reconciler.decide.doubt import HEARD
from reconciler.decide.mirror_view import MirrorState, mirror_view
from reconciler.decide.records import MonitorState, Phase
from reconciler.decide.server_status import ServerView
from reconciler.decide.status import GroupView
from reconciler.ports.store import MemberHealth, way_out


class Severity(IntEnum):
    OK = 0
    WARNING = 1
    CRITICAL = 2


_OF_MIRRORS = {
    MirrorState.COPYING: Severity.WARNING,
    MirrorState.ALONE: Severity.WARNING,
    MirrorState.SPLIT_BRAIN: Severity.CRITICAL,
    MirrorState.WAITING: Severity.CRITICAL,
}
WORDS = {Severity.OK: "ok", Severity.WARNING: "degraded", Severity.CRITICAL: "critical"}


@dataclass(frozen=True, slots=True)
class Attention:
    """One thing that is not green: why, and what to type."""

    severity: Severity
    subject: str
    text: str
    next_command: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "severity": self.severity.name.lower(),
            "object": self.subject,
            "text": self.text,
            "next": self.next_command,
        }


@dataclass(frozen=True, slots=True)
class Overview:
    servers: tuple[ServerView, ...]
    groups: tuple[GroupView, ...]
    members: tuple[MemberHealth, ...]
    attention: tuple[Attention, ...]
    coordinator: str | None
    revision: int

    @property
    def severity(self) -> Severity:
        return max((item.severity for item in self.attention), default=Severity.OK)

    @property
    def leader(self) -> str | None:
        return next((member.server for member in self.members if member.is_leader), None)

    def to_json(self, cluster: str) -> dict[str, Any]:
        """The contract of `status -o json`."""
        return {
            "cluster": cluster,
            "state": WORDS[self.severity],
            "revision": self.revision,
            "coordinator": self.coordinator,
            "store": {
                "leader": self.leader,
                "members": [
                    {
                        "server": member.server,
                        "endpoint": member.endpoint,
                        "reachable": member.reachable,
                        "leader": member.is_leader,
                    }
                    for member in self.members
                ],
            },
            "servers": [{"name": view.name, **view.to_json()} for view in self.servers],
            "groups": [{"name": view.name, **view.to_json()} for view in self.groups],
            "attention": [item.to_json() for item in self.attention],
        }


def overview(picture: Picture, members: Sequence[MemberHealth]) -> Overview:
    """Everything that `status` shows; groups that the specs lost but somebody owns are included."""
    records = picture.records
    in_specs = {ref.name for ref in picture.refs("Group")}
    owned = {name for name, record in records.groups.items() if record.owner is not None}
    groups = tuple(picture.group(name) for name in sorted(in_specs | owned))
    servers = tuple(picture.server(ref.name) for ref in picture.refs("Server"))
    away = {view.name for view in servers if view.state != "online"}
    found = [
        *_of_cluster(picture, members),
        *(item for view in groups for item in _of_group(view, view.name in in_specs)),
        *(item for view in servers for item in _of_server(view, away)),
        *_of_cordons(picture),
        *(item for ref in picture.refs("Monitor") for item in _of_monitor(picture, ref.name)),
        *(item for name in sorted(picture.records.mirrors) for item in _of_mirror(picture, name)),
    ]
    return Overview(
        servers=servers,
        groups=groups,
        members=tuple(members),
        attention=tuple(sorted(found, key=lambda item: (-item.severity, item.subject))),
        coordinator=records.coordinator.server if records.coordinator else None,
        revision=picture.revision,
    )


def _of_cluster(picture: Picture, members: Sequence[MemberHealth]) -> list[Attention]:
    found = []
    away = [member.server for member in members if not member.reachable]
    if away:
        left = len(members) - len(away) - (len(members) // 2 + 1)
        text = f"store member {', '.join(away)} does not answer"
        text += f"; {left} more may fail" if left > 0 else "; no further one may fail"
        found.append(Attention(Severity.WARNING, "store", text))
    if alarm := next((member.alarm for member in members if member.alarm), ""):
        text = f"{alarm}: nothing can move, start or be fenced"
        found.append(Attention(Severity.CRITICAL, "store", text, way_out(alarm)))
    if picture.revision == 0:
        text = "no specs were ever applied"
        found.append(Attention(Severity.WARNING, "cluster", text, "clusterctl apply -f DIRECTORY"))
    elif picture.records.coordinator is None:
        text = "no coordinator: nothing is decided now"
        look = "on each server: systemctl status clusterctl-agent"
        found.append(Attention(Severity.CRITICAL, "cluster", text, look))
    found += [
        Attention(Severity.WARNING, "cluster", f"cannot read {key}: written by a newer version?")
        for key in picture.records.unreadable
    ]
    return found


def _of_group(view: GroupView, in_specs: bool) -> list[Attention]:
    subject = f"group/{view.name}"
    found = []
    text = f"{view.phase}: {'; '.join(view.reasons)}" if view.reasons else str(view.phase)
    look = view.next_command or f"clusterctl describe {subject}"
    if view.phase in (Phase.BLOCKED, Phase.FAILED):
        found.append(Attention(Severity.CRITICAL, subject, text, look))
    elif view.phase in (Phase.STARTING, Phase.STOPPING, Phase.RECOVERING):
        found.append(Attention(Severity.WARNING, subject, text))
    elif view.phase is Phase.OFFLINE and view.wanted != "offline":
        found.append(Attention(Severity.WARNING, subject, text, view.next_command))
    elif view.phase is Phase.ONLINE and view.reasons:
        found.append(Attention(Severity.WARNING, subject, text, look))
    if view.proof == "none":
        text = "was taken over without a proof that its old owner stopped: it may run twice"
        found.append(Attention(Severity.CRITICAL, subject, text, f"clusterctl why {subject}"))
    if not in_specs:
        gone = f"is still owned by {view.owner}, but is in no spec any more"
        found.append(Attention(Severity.WARNING, subject, gone))
    stopped = [resource.name for resource in view.resources if resource.stopped]
    if stopped:
        gone = f"stopped by an operator: {', '.join(stopped)}"
        start = f"clusterctl start resource/{stopped[0]}"
        found.append(Attention(Severity.WARNING, subject, gone, start))
    return found


def _of_monitor(picture: Picture, name: str) -> list[Attention]:
    view = picture.monitor(name)
    worst = view.worst
    if (told := view.warned) is not None:
        text = f"on {told.server}: {told.reason}"
        return [Attention(Severity.WARNING, f"monitor/{name}", text)]
    if worst is None or view.state not in (MonitorState.FAULTY, MonitorState.PARKED):
        return []
    text = f"{view.state} on {worst.server}: {worst.reason}"
    text += f"; its recovery waits: {worst.waiting}" if worst.waiting else ""
    look = f"clusterctl describe monitor/{name}"
    return [Attention(Severity.WARNING, f"monitor/{name}", text, look)]


def _of_mirror(picture: Picture, name: str) -> list[Attention]:
    """A mirror that is stopped is told of with its group."""
    records = picture.records
    said = [server for server, mirror in records.mirror_status if mirror == name]
    # Sides of a hybrid disk are called by their server groups.
    servers = {ref.name for ref in picture.refs("Server")} & set(records.mirrors[name].servers)
    sides = {server: server for server in sorted({*said, *servers})}
    view = mirror_view(name, "", sides, records)
    severity = Severity.WARNING if view.differs else None
    severity = _OF_MIRRORS.get(view.state, severity)
    if severity is None or not any(ref.name == name for ref in picture.refs("Resource")):
        return []
    text = "; ".join((view.state.value.replace("-", " "), *view.reasons))
    if view.progress is not None:
        text = f"the other side is being copied to: {view.progress.percent:.0f} %"
    return [Attention(severity, f"resource/{name}", text, view.next_command)]


def _of_cordons(picture: Picture) -> list[Attention]:
    """Servers that take no groups because somebody said so."""
    told = {name: cordon_words(name, picture.records) for name in sorted(picture.records.cordons)}
    return [
        Attention(Severity.WARNING, f"server/{name}", text, undrain(name))
        for name, text in told.items()
        if text
    ]


def _of_server(view: ServerView, away: Set[str]) -> list[Attention]:
    """That the others do not hear a server which is `away` is said once, with that server."""
    subject = f"server/{view.name}"
    look = f"clusterctl describe {subject}"
    found = []
    if view.state != "online":
        reasons = "; ".join(view.reasons)
        text = f"{view.state}: {reasons}" if reasons else view.state
        severe = view.state == "unknown" and view.groups
        severity = Severity.CRITICAL if severe else Severity.WARNING
        found.append(Attention(severity, subject, text, look))
    found += [Attention(Severity.WARNING, subject, text, look) for text in view.warnings]
    if view.hold is not None:
        until = datetime.fromtimestamp(view.hold.until_wall, UTC).strftime("%H:%M:%S UTC")
        text = f"its agent is on hold until {until} by {view.hold.who}"
        text += f": {view.hold.why}" if view.hold.why else ""
        release = f"clusterctl agent release --server {view.name}"
        found.append(Attention(Severity.WARNING, subject, text, release))
    failed = sorted({test.by for test in view.tests if test.live and not test.test.ok})
    if failed:
        text = f"its fence device fails from {', '.join(failed)}"
        test = f"clusterctl fence test {view.name}"
        found.append(Attention(Severity.WARNING, subject, text, test))
    lost = sorted(
        f"{peer} on {network}"
        for peer, paths in (view.heartbeats or {}).items()
        for network, state in paths.items()
        if state != HEARD and peer not in away
    )
    if lost and view.state == "online":
        text = f"does not hear {', '.join(lost)}"
        found.append(Attention(Severity.WARNING, subject, text, look))
    return found
