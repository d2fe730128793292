"""Mirrored disks as text: one row each, or everything about one."""

from clusterctl.render.progress import amount, line
from clusterctl.render.style import Style
from clusterctl.render.table import age, clean, table
from reconciler.decide.mirror_view import IDLE, MirrorState, MirrorView, SideView

_TONE = {
    MirrorState.IN_SYNC: "ok",
    MirrorState.COPYING: "running",
    MirrorState.ALONE: "warning",
    MirrorState.SPLIT_BRAIN: "critical",
    MirrorState.WAITING: "critical",
    MirrorState.STOPPED: "inactive",
    MirrorState.NEW: "inactive",
}
_HEADERS = ("MIRROR", "GROUP", "STATE", "SERVES", "ALL DATA ON", "COPIED", "LEFT", "BEHIND")


def rows(views: list[MirrorView], now_wall: float, style: Style) -> list[str]:
    return table(_HEADERS, [_row(view, now_wall, style) for view in views])


def _row(view: MirrorView, now_wall: float, style: Style) -> tuple[str, ...]:
    serving, found = view.serving, view.progress
    left = found.seconds_left if found else None
    return (
        view.name,
        view.group,
        mark(view, style),
        serving.server if serving else "-",
        ", ".join(view.holders) or "-",
        f"{int(found.percent)} %" if found else "-",
        age(left) if left is not None else "-",
        behind(view.other, now_wall) if view.other else "-",
    )


def mark(view: MirrorView, style: Style) -> str:
    return style.mark(_TONE[view.state], view.state.value)


def behind(side: SideView, now_wall: float) -> str:
    """How old the data of a side is."""
    if side.has_all:
        return "nothing"
    if side.as_of_wall is None:
        return "unknown"
    return age(now_wall - side.as_of_wall)


def details(view: MirrorView, now_wall: float, style: Style) -> list[str]:
    """Everything about one mirror."""
    size = f"  {amount(view.size)}" if view.size else ""
    mode = "  asynchronous" if any(s.status and s.status.asynchronous for s in view.sides) else ""
    lines = [f"mirror {view.name} of group/{view.group}  {mark(view, style)}{size}{mode}"]
    lines += [f"  {clean(reason)}" for reason in view.reasons]
    if view.next_command:
        lines.append(f"  next: {view.next_command}")
    if view.progress is not None:
        lines.append(f"  copy     {line(view.progress, style)}")
    if view.check is not None:
        lines.append(f"  compare  {line(view.check, style)}")
    elif view.last_check is not None:
        lines.append(f"  compared: {checked(view)}")
    lines += [
        "",
        *table(("SERVER", "STATE", "RECORD", "DATA", "SIZE", "CONNECTION"), _sides(view, now_wall)),
    ]
    record = view.record
    if record is not None:
        lines += ["", f"record: epoch {record.epoch}, generation {record.generation}"]
        if record.forced_by:
            lost = ", ".join(record.given_up)
            why = f": {clean(record.forced_why)}" if record.forced_why else ""
            text = f"{clean(record.forced_by)} gave up what only {lost} had{why}"
            lines.append(style.mark("warning", text))
    return lines


def checked(view: MirrorView) -> str:
    return clean(str(view.last_check)) if view.last_check is not None else "never"


def _sides(view: MirrorView, now_wall: float) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for side in view.sides:
        status = side.status
        connection = "-"
        told = status is not None and (status.connected or status.problem)
        if status is not None and told and side.word != IDLE:
            connection = "connected" if status.connected else clean(status.problem)
            connection += f" to {status.address}" if status.connected and status.address else ""
        word = f"{side.word}: {clean(side.reason)}" if side.reason else side.word
        record = "has all" if side.current else "-"
        data = _data(side, now_wall)
        found.append((side.server, word, record, data, _size(side), connection))
    return found


def _size(side: SideView) -> str:
    """Of the mirror there, and of the device if that is larger."""
    status = side.status
    if status is None or not status.size:
        return "-"
    room = f" of {amount(status.room)}" if status.room > status.size else ""
    return amount(status.size) + room


def _data(side: SideView, now_wall: float) -> str:
    if side.has_all:
        return "up to now"
    if side.as_of_wall is None:
        return "as of: unknown"
    return f"as of {age(now_wall - side.as_of_wall)} ago"
