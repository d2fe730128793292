"""One row per object: what `get` shows in its tables, and the documents behind `-o json`."""

from collections.abc import Callable, Mapping
from typing import Any

from clusterctl.objects import Ref
from clusterctl.picture import Picture
from clusterctl.render.style import Style
from clusterctl.render.table import clean, since
from reconciler.decide.status import operation_json

Row = tuple[str, ...]

HEADERS: Mapping[str, tuple[Row, Row]] = {
    # kind: (columns of a table, further columns of a wide one)
    "Cluster": (("NAME", "REVISION", "COORDINATOR"), ("SERVERS", "GROUPS")),
    "Server": (("NAME", "STATE", "GROUPS", "FENCING"), ("BOOT ID", "VERSION", "REASON")),
    "ServerGroup": (("NAME", "SERVERS"), ("ONLINE",)),
    "Group": (("NAME", "STATE", "ON", "SINCE", "EPOCH"), ("PREVIOUS", "CAUSE", "REASON")),
    "Resource": (("NAME", "TYPE", "GROUP", "STATE", "ON"), ("SINCE", "RESTARTS", "REASON")),
    "Monitor": (
        ("NAME", "TYPE", "TARGET", "STATE", "ON"),
        ("SINCE", "RESTARTS", "FAILOVERS", "REASON"),
    ),
    "Operation": (("ID", "KIND", "TARGET", "PHASE"), ("WHO", "AGE", "RESULT")),
}
# Kinds whose specs must be parsed for the rows and for the documents of a kind.
NEEDS: Mapping[str, tuple[str, ...]] = {
    "Cluster": ("Cluster",),
    "Server": ("Server",),
    "ServerGroup": ("ServerGroup",),
    "Group": ("Group", "Resource"),
    "Resource": ("Resource",),
    "Monitor": ("Monitor",),
    "Operation": (),
}


def headers(kind: str, *, wide: bool) -> Row:
    short, more = HEADERS[kind]
    return (*short, *more) if wide else short


def row(picture: Picture, ref: Ref, style: Style, *, wide: bool) -> Row:
    """The cells of one object, painted."""
    short, more = _ROWS[ref.kind](picture, ref.name, style)
    return (*short, *more) if wide else short


def document(picture: Picture, ref: Ref) -> dict[str, Any]:
    """apiVersion, kind, metadata, spec, status: the contract of `-o json`."""
    if ref.kind == "Operation":
        return _operation_document(picture, ref.name)
    return {**picture.spec_json(ref), "status": _STATUS[ref.kind](picture, ref.name)}


def _cluster(picture: Picture, name: str, _style: Style) -> tuple[Row, Row]:
    status = _cluster_status(picture, name)
    counts = (str(len(picture.refs("Server"))), str(len(picture.refs("Group"))))
    return (name, f"r{picture.revision}", status["coordinator"] or "-"), counts


def _cluster_status(picture: Picture, _name: str) -> dict[str, Any]:
    records = picture.records
    return {
        "revision": picture.revision,
        "coordinator": records.coordinator.server if records.coordinator else None,
        "servers": {ref.name: picture.server(ref.name).state for ref in picture.refs("Server")},
        "unreadable": list(records.unreadable),
    }


def _server(picture: Picture, name: str, style: Style) -> tuple[Row, Row]:
    view = picture.server(name)
    cells = (
        name,
        style.mark(view.state),
        ",".join(view.groups) or "-",
        fencing(picture, name, style),
    )
    return cells, (view.boot_id or "-", view.version or "-", reason_of(view.reasons))


def fencing(picture: Picture, name: str, style: Style) -> str:
    """`● 12s`: result of the newest live self-test and its age; `-` when there was none."""
    view = picture.server(name)
    live = [test for test in view.tests if test.live]
    if not live:
        return style.mark("unknown", "not tested")
    newest = min(test.age_s if test.age_s is not None else 0.0 for test in live)
    last = view.last_fence
    if last is not None and not last.proves_off and last.at_wall > picture.wall - newest:
        return style.mark("failed", f"{last.executor}: {last.outcome}")
    failed = [test for test in live if not test.test.ok]
    if not failed:
        return style.mark("ok", since(picture.wall - newest, picture.wall))
    return style.mark("failed", f"from {','.join(sorted({test.by for test in failed}))}")


def _server_group(picture: Picture, name: str, _style: Style) -> tuple[Row, Row]:
    status = _server_group_status(picture, name)
    servers = status["servers"]
    online = [server for server, state in servers.items() if state == "online"]
    return (name, ",".join(servers)), (",".join(online) or "-",)


def _server_group_status(picture: Picture, name: str) -> dict[str, Any]:
    specs = picture.specs
    names = specs.server_groups[name].spec.servers if specs else ()
    return {"servers": {server: picture.server(server).state for server in names}}


def _group(picture: Picture, name: str, style: Style) -> tuple[Row, Row]:
    view = picture.group(name)
    cells = (
        name,
        style.mark(view.phase),
        view.owner or "-",
        since(view.since_wall, picture.wall),
        str(view.epoch),
    )
    return cells, (view.previous_owner or "-", clean(view.cause) or "-", reason_of(view.reasons))


def _resource(picture: Picture, name: str, style: Style) -> tuple[Row, Row]:
    status = _resource_status(picture, name)
    spec = picture.specs.resources[name].spec if picture.specs else None
    cells = (
        name,
        spec.type if spec else "-",
        spec.group if spec else "-",
        style.mark(status["state"]),
        status["server"] or "-",
    )
    reason = reason_of((status["reason"],))
    return cells, (status["since"] or "-", str(status["restarts"]), reason)


def _resource_status(picture: Picture, name: str) -> dict[str, Any]:
    group = picture.specs.resources[name].spec.group if picture.specs else ""
    view = picture.group(group)
    found = next((r for r in view.resources if r.name == name), None)
    if found is None:
        return {"state": "unknown", "server": None, "reason": "", "since": None, "restarts": 0}
    shown = found.to_json()
    return {**shown, "server": view.owner, "epoch": view.epoch, "groupPhase": str(view.phase)}


def _monitor(picture: Picture, name: str, style: Style) -> tuple[Row, Row]:
    spec = picture.specs.monitors[name].spec if picture.specs else None
    view = picture.monitor(name)
    cells = (
        name,
        spec.type if spec else "-",
        spec.target if spec else "-",
        style.mark("warning") if view.warned else style.mark(view.state.value),
        ",".join(view.on) or "-",
    )
    worst = view.warned or view.worst
    if worst is None:
        return cells, ("-", "-", "-", "-")
    counts = (str(worst.restarts), str(worst.failovers))
    reason = reason_of((worst.reason, worst.waiting))
    return cells, (since(worst.since_wall, picture.wall), *counts, reason)


def _operation(picture: Picture, name: str, style: Style) -> tuple[Row, Row]:
    found = picture.records.operations[name]
    cells = (found.id, str(found.kind), found.target, style.mark(found.phase))
    age = since(found.created_wall, picture.wall)
    return cells, (clean(found.who) or "-", age, clean(found.result) or "-")


def _operation_document(picture: Picture, name: str) -> dict[str, Any]:
    found = picture.records.operations[name]
    return {
        "apiVersion": "clusterctl/v1",
        "kind": "Operation",
        "metadata": {"name": found.id},
        "spec": {
            "kind": str(found.kind),
            "target": found.target,
            "to": found.to,
            "who": found.who,
            "why": found.why,
        },
        "status": operation_json(found),
    }


def reason_of(reasons: tuple[str, ...]) -> str:
    """All reasons in one cell."""
    return clean("; ".join(reason for reason in reasons if reason)) or "-"


_ROWS: Mapping[str, Callable[[Picture, str, Style], tuple[Row, Row]]] = {
    "Cluster": _cluster,
    "Server": _server,
    "ServerGroup": _server_group,
    "Group": _group,
    "Resource": _resource,
    "Monitor": _monitor,
    "Operation": _operation,
}
_STATUS: Mapping[str, Callable[[Picture, str], dict[str, Any]]] = {
    "Cluster": _cluster_status,
    "Server": lambda picture, name: picture.server(name).to_json(),
    "ServerGroup": _server_group_status,
    "Group": lambda picture, name: picture.group(name).to_json(),
    "Resource": _resource_status,
    "Monitor": lambda picture, name: picture.monitor(name).to_json(),
}
