"""One monitor as people see it: what each server says, and the worst of it. `get` and `describe`
show it."""

from dataclasses import dataclass
from typing import Any

from reconciler.decide.records import MonitorState, MonitorStatus
from reconciler.decide.status import iso
from reconciler.decide.stored import StoredRecords

WORST_FIRST = (
    MonitorState.PARKED,
    MonitorState.FAULTY,
    MonitorState.SUSPECT,
    MonitorState.UNKNOWN,
    MonitorState.HEALTHY,
    MonitorState.OFFLINE,
)


_QUIET = (MonitorState.HEALTHY, MonitorState.OFFLINE)


@dataclass(frozen=True, slots=True)
class MonitorView:
    """`on` are the servers that probe now; `servers` what each server says, by name."""

    name: str
    state: MonitorState
    servers: tuple[MonitorStatus, ...] = ()

    @property
    def on(self) -> tuple[str, ...]:
        return tuple(s.server for s in self.servers if s.state is not MonitorState.OFFLINE)

    @property
    def warned(self) -> MonitorStatus | None:
        """What the first server says where it is healthy, and yet somebody should look; None when
        nobody warns, or when it is worse anywhere."""
        if self.state is not MonitorState.HEALTHY:
            return None
        return next((s for s in self.servers if s.warning), None)

    @property
    def worst(self) -> MonitorStatus | None:
        return next((s for s in self.servers if s.state is self.state), None)

    def to_json(self) -> dict[str, Any]:
        """The contract of `get monitor -o json`, below `status`."""
        worst = self.worst if self.state not in _QUIET else self.warned
        return {
            "state": self.state.value,
            "warning": self.warned is not None,
            "on": list(self.on),
            "reasons": [text for text in (worst.reason, worst.waiting) if text] if worst else [],
            "servers": {status.server: _server(status) for status in self.servers},
        }


def monitor_view(name: str, records: StoredRecords) -> MonitorView:
    """A server that is not in session says nothing that still counts."""
    found = tuple(
        status if server in records.sessions else _silent(status)
        for (server, monitor), status in sorted(records.monitor_status.items())
        if monitor == name
    )
    states = {status.state for status in found}
    state = next((state for state in WORST_FIRST if state in states), MonitorState.UNKNOWN)
    return MonitorView(name, state, found)


def _silent(status: MonitorStatus) -> MonitorStatus:
    reason = f"{status.server} has no session"
    return status.model_copy(update={"state": MonitorState.UNKNOWN, "reason": reason})


def _server(status: MonitorStatus) -> dict[str, Any]:
    return {
        "state": status.state.value,
        "warning": status.warning,
        "reason": status.reason,
        "waiting": status.waiting,
        "failures": status.failures,
        "scripts": status.scripts,
        "restarts": status.restarts,
        "failovers": status.failovers,
        "recovering": status.recovering,
        "lastStep": status.last_step,
        "tookMs": status.took_ms,
        "since": iso(status.since_wall),
        "probed": iso(status.probed_wall),
        "output": status.output,
    }
