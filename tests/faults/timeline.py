"""A picture of a campaign as SVG: who ran which group when, what was broken, what was away.

Strips of some minutes, one below the other. In each strip a lane for each server, with a bar for
each group that runs there, grey where the server is without power; pale red behind the servers
that a fault hits; at the bottom a lane for each group, with its outages in red. Pure functions;
called by the report.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from tests.faults import recovery
from tests.faults.history import Line, gaps, groups, runs, told

STRIP_S = 150.0
WIDTH, LEFT, RIGHT = 1400, 60, 10
LANE, TOP, BOTTOM = 16, 30, 22
COLOURS = ("#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf")
STYLE = "text{font:10px sans-serif;fill:#333}.k{font-size:9px;fill:#a00}.n{font-weight:bold}"


@dataclass(frozen=True, slots=True)
class Span:
    """Something from `began` to `ended`. `what` is a group, a kind of fault, or nothing."""

    lane: str
    began: float
    ended: float
    what: str = ""


def draw(history: Sequence[Line], servers: Sequence[str], title: str) -> str:
    """The whole picture; times are seconds since the first line."""
    start, end = history[0].t, max(line.t for line in history)
    names = groups(history)
    parts = {
        "bar": list(_bars(history)),
        "off": list(_without_power(history, end)),
        "fault": list(_faults(history, end)),
        "outage": [Span(g, a, b) for g in names for a, b in gaps(history, g, recovery.OUTAGE_S)],
    }
    height = TOP + LANE * (len(servers) + len(names)) + BOTTOM
    count = int((end - start) // STRIP_S) + 1
    body = [f'<text class="n" x="{LEFT}" y="14">{escape(title)}</text>', *_legend(names)]
    for number in range(count):
        strip = _Strip(start, start + number * STRIP_S, 24 + number * height, servers, names)
        body += strip.draw(parts)
    total = 24 + count * height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{total}" '
        f'viewBox="0 0 {WIDTH} {total}"><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(body)}</svg>\n'
    )


def _legend(names: Sequence[str]) -> Iterator[str]:
    x = WIDTH - 480
    for name, colour in zip(names, COLOURS, strict=False):
        yield f'<rect x="{x}" y="6" width="10" height="8" fill="{colour}"/>'
        yield f'<text x="{x + 14}" y="14">{escape(name)}</text>'
        x += 70
    for text, colour in (("fault", "#fbd5d0"), ("no power", "#bbb"), ("outage", "#d00")):
        yield f'<rect x="{x}" y="6" width="10" height="8" fill="{colour}"/>'
        yield f'<text x="{x + 14}" y="14">{text}</text>'
        x += 80


class _Strip:
    """One strip: `at` is the time at its left edge, `y` its upper edge."""

    def __init__(
        self, start: float, at: float, y: int, servers: Sequence[str], names: Sequence[str]
    ) -> None:
        self._start, self._at, self._y = start, at, y
        self._servers, self._names = list(servers), list(names)
        self._lanes = [*servers, *(f"{name} away" for name in names)]
        self._low = y + TOP + LANE * len(self._lanes)

    def draw(self, parts: dict[str, list[Span]]) -> Iterator[str]:
        for number, lane in enumerate(self._lanes):
            y = self._y + TOP + LANE * number
            yield f'<text x="4" y="{y + 12}">{escape(lane)}</text>'
            yield f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#eee"/>'
        yield from self._faults(parts["fault"])
        for span in self._mine(parts["off"]):
            yield self._box(span, self._lane(span.lane), LANE, "#bbb")
        for span in self._mine(parts["bar"]):
            index = self._names.index(span.what)
            thick = (LANE - 4) / len(self._names)
            y = self._lane(span.lane) + 2 + index * thick
            yield self._box(span, y, thick, COLOURS[index % len(COLOURS)])
        for span in self._mine(parts["outage"]):
            text = f"{span.lane} away for {span.ended - span.began:.2f} s"
            yield self._box(span, self._lane(f"{span.lane} away") + 2, LANE - 4, "#d00", text)
        yield from self._seconds()

    def _faults(self, spans: Sequence[Span]) -> Iterator[str]:
        shown: dict[str, float] = {}
        rows = [float("-inf")] * 2
        for span in self._mine(spans):
            yield self._box(span, self._lane(span.lane), LANE, "#fbd5d0", span.what, 0.6)
            key = f"{span.what}@{span.began}"
            if key in shown or span.began < self._at:
                continue
            x = shown[key] = self._x(span.began)
            row = min(range(len(rows)), key=lambda each: rows[each])
            rows[row] = x + 5 * len(span.what)
            y = self._y + TOP - 4 - 10 * row
            yield f'<text class="k" x="{x:.1f}" y="{y}">{escape(span.what)}</text>'
            yield f'<path d="M{x:.1f} {self._y + TOP - 2}V{self._low}" stroke="#e88"/>'

    def _seconds(self) -> Iterator[str]:
        for step in range(0, int(STRIP_S) + 1, 10):
            x, y = self._x(self._at + step), self._low
            second = self._at + step - self._start
            yield f'<path d="M{x:.1f} {y}v4" stroke="#999"/>'
            yield f'<text x="{x - 6:.1f}" y="{y + 14}">{second:.0f}</text>'

    def _mine(self, spans: Iterable[Span]) -> Iterator[Span]:
        return (s for s in spans if s.began < self._at + STRIP_S and s.ended > self._at)

    def _lane(self, lane: str) -> float:
        return self._y + TOP + LANE * self._lanes.index(lane)

    def _x(self, t: float) -> float:
        share = min(max((t - self._at) / STRIP_S, 0.0), 1.0)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def _box(
        self, span: Span, y: float, height: float, colour: str, text: str = "", opacity: float = 1.0
    ) -> str:
        x, right = self._x(span.began), self._x(span.ended)
        shape = f'x="{x:.1f}" y="{y:.1f}" width="{max(1.0, right - x):.1f}" height="{height:.1f}"'
        told_as = f"<title>{escape(text)}</title>" if text else ""
        see = f' opacity="{opacity}"' if opacity < 1 else ""
        return f'<rect {shape} fill="{colour}"{see}>{told_as}</rect>'


def _bars(history: Sequence[Line]) -> Iterator[Span]:
    for run in runs(history):
        yield Span(run.server, run.began, run.ended, run.group)


def _without_power(history: Sequence[Line], end: float) -> Iterator[Span]:
    since: dict[str, float] = {}
    for line in sorted(told(history, "power"), key=lambda line: line.t):
        if line.more["power"] == "on":
            began = since.pop(line.server, None)
            if began is not None:
                yield Span(line.server, began, line.t)
        else:
            since.setdefault(line.server, line.t)
    for server, began in since.items():
        yield Span(server, began, end)


def _faults(history: Sequence[Line], end: float) -> Iterator[Span]:
    healed = {(line.more["round"], line.more["index"]): line.t for line in told(history, "healed")}
    for line in told(history, "fault"):
        until = healed.get((line.more["round"], line.more["index"]), end)
        for server in line.more["targets"]:
            yield Span(server, line.t, until, line.more["kind"])
