"""An explanation as lines of text: the answer first, then what it rests on, then the way there."""

from datetime import UTC, datetime

from clusterctl.render.style import Style
from clusterctl.render.table import clean, table
from reconciler.decide.explanation import Explanation


def why_lines(told: Explanation, style: Style) -> list[str]:
    where = f" on {told.where}" if told.where else ""
    lines = [f"{told.subject}  {style.mark(told.state)}{clean(where)}"]
    rows = [("because", text) for text in told.because]
    rows.append(("decided", _decided(told)))
    rows.append(("proof", told.proof))
    rows += [(key, value) for key, value in told.more.items()]
    rows.append(("next", told.next_command))
    rows = [(key, clean(text)) for key, text in rows if text]
    width = max((len(key) for key, _ in rows), default=0)
    before = ""
    for key, text in rows:
        lines.append(f"  {'' if key == before else key:<{width}}  {text}")
        before = key
    if told.candidates:
        lines += ["", *(f"  {line}" for line in _candidates(told, style))]
    if told.steps:
        lines += ["", *(f"  {line}" for line in _timeline(told))]
    return lines


def _decided(told: Explanation) -> str:
    if not told.decided:
        return ""
    at = ""
    if told.decided_wall:
        stamp = datetime.fromtimestamp(told.decided_wall, UTC)
        at = f", {stamp.strftime('%Y-%m-%d %H:%M:%S.%f')[:-3]}Z"
    return told.decided + at + (f" by {told.decided_by}" if told.decided_by else "")


def _candidates(told: Explanation, style: Style) -> list[str]:
    rows = []
    for candidate in told.candidates:
        word = (
            "chosen" if candidate.server == told.chosen else "fit" if candidate.eligible else "no"
        )
        state = {"chosen": "ok", "fit": "inactive", "no": "failed"}[word]
        rows.append((candidate.server, style.mark(state, word), clean(candidate.reason)))
    return table(("SERVER", "CHOICE", "REASON"), rows)


def _timeline(told: Explanation) -> list[str]:
    began = before = told.steps[0].at_wall
    rows = []
    for step in told.steps:
        at, after = (step.at_wall - began) * 1000, (step.at_wall - before) * 1000
        rows.append((f"{at:.0f}", f"+{after:.0f}", step.server, clean(step.text)))
        before = step.at_wall
    return table(("MS", "AFTER", "BY", "WHAT"), rows)
