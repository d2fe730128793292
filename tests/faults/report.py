"""The report of a campaign in Markdown: what was asked of it, what it found, how long recoveries
took, and what was done when. Pure; called by `python -m tests.faults`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.faults import checks, recovery
from tests.faults.history import Line, groups, runs, told, witnessed


@dataclass(frozen=True, slots=True)
class About:
    """Of what this is the report. `picture` is the file beside it, `repeat` the command."""

    servers: int
    seed: int
    commit: str
    repeat: str
    picture: str = ""


def write(about: About, history: Sequence[Line]) -> str:
    """The whole page."""
    judged = {name: check(history) for name, check in checks.CHECKS.items()}
    paid = recovery.toll(history)
    return "\n".join(
        [
            *_head(about, history, judged),
            *_checks(history, judged),
            *_recovery(history, paid),
            *_rounds(history, paid),
        ]
    )


def together(*histories: Sequence[Line]) -> str:
    """The tables of recovery of several campaigns as one."""
    return "\n".join([*_tables(recovery.toll(*histories)), ""])


def _head(
    about: About, history: Sequence[Line], judged: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    violations = [f"{name}: {text}" for name, found in judged.items() for text in found]
    minutes = (history[-1].t - history[0].t) / 60
    rounds = len(told(history, "whole", "not_whole"))
    result = "no violation" if not violations else f"**{len(violations)} violations**"
    yield f"# Real faults on {about.servers} servers: {result}"
    yield ""
    yield f"{minutes:.1f} minutes, {rounds} rounds, {len(told(history, 'fault'))} faults,"
    yield f"seed {about.seed}, commit {about.commit or 'unknown'}. Again: `{about.repeat}`"
    yield ""
    for text in violations:
        yield f"- {text}"
    helped = len(told(history, "helped"))
    if helped:
        times = "Once" if helped == 1 else f"{helped} times"
        yield f"{times} a server that owned nothing stayed off after faults: that is shown and"
        yield "left to a person; the campaign switched it on."
    if about.picture:
        yield ""
        yield f"![Who ran what, what was broken, what was away]({about.picture})"
    yield ""


def _checks(history: Sequence[Line], judged: Mapping[str, Sequence[str]]) -> Iterator[str]:
    lives = len(runs(history))
    acks = len(witnessed(told(history, "ack")))
    specs = len(told(history, "applied"))
    yield f"Judged were {lives} lives of witnesses in groups {', '.join(groups(history))}, "
    yield f"{acks} acknowledged writes and {specs} acknowledged specs. What witnesses, power "
    yield "switches and clients wrote is judged, not what the cluster says of itself."
    yield ""
    yield "| Check | Result |"
    yield "|---|---|"
    for name, found in judged.items():
        yield f"| {name} | {'holds' if not found else f'**broken {len(found)} times**'} |"
    yield ""


def _recovery(history: Sequence[Line], paid: recovery.Toll) -> Iterator[str]:
    yield "## Recovery"
    yield ""
    yield f"An outage is a silence of a witness for more than {recovery.OUTAGE_S:.2f} s; the"
    yield "longest of each round and group counts. Seconds."
    stood = [b - a for a, b in recovery.stalls(history)]
    if stood:
        yield f"The machine below the lab stood still {len(stood)} times for more than"
        yield f"{recovery.STALL_S:g} s, at most {max(stood):.2f} s: a process outside of the"
        yield "cluster, which does the same as a witness, was silent, too. Silences that are"
        yield "nothing else do not count."
    yield ""
    yield from _tables(paid)
    yield ""


def _tables(paid: recovery.Toll) -> Iterator[str]:
    rows = recovery.table(paid, blocked=False)
    yield from _table([*rows, recovery.total(paid, blocked=False)])
    yield ""
    alone = [row for row in rows if row.kind != recovery.COMBINED]
    slow = [f"{row.kind} {row.p95_s:.2f} s" for row in alone if row.p95_s >= recovery.GOAL_P95_S]
    result = f"Missed: {', '.join(slow)}." if slow else "Reached."
    yield f"Goal: p95 under {recovery.GOAL_P95_S:g} s for every fault under which a proof is to be"
    yield f"had. {result} Two faults together may leave no quorum, and so no proof: they are shown,"
    yield "and not counted for the goal."
    waited = recovery.table(paid, blocked=True)
    if waited:
        yield ""
        yield "No proof was to be had while these faults were in force, so nothing could be taken"
        yield "over. Counted from the moment when they were healed:"
        yield ""
        yield from _table([*waited, recovery.total(paid, blocked=True)])


def _table(rows: Sequence[recovery.Row]) -> Iterator[str]:
    yield "| Fault | Groups at stake | Outages | Median | p95 | Longest |"
    yield "|---|---:|---:|---:|---:|---:|"
    for row in rows:
        numbers = (
            f"{row.median_s:.2f} | {row.p95_s:.2f} | {row.longest_s:.2f}"
            if row.outages
            else "- | - | -"
        )
        yield f"| {row.kind} | {row.rounds} | {row.outages} | {numbers} |"


def _rounds(history: Sequence[Line], paid: recovery.Toll) -> Iterator[str]:
    start = history[0].t
    longest: dict[int, str] = {}
    for each in paid.outages:
        word = f"{each.group} {each.seconds:.2f}" + (" after healing" if each.blocked else "")
        longest[each.round] = ", ".join(filter(None, (longest.get(each.round), word)))
    yield "## Rounds"
    yield ""
    told_of = [line for line in history if "round" in line.more]
    yield "| Round | At | Faults | Outages |"
    yield "|---:|---:|---|---|"
    for line in told(history, "round_begun"):
        number = line.more["round"]
        mine = [each for each in told_of if each.more["round"] == number]
        faults = [
            f"{each.more['kind']} ({each.more['detail'] or ' '.join(each.more['targets'])})"
            for each in told(mine, "fault")
        ]
        faults += [f"move of {each.more['group_asked']}" for each in told(mine, "moved")]
        at = f"{line.t - start:.0f} s"
        words = ", ".join(faults).replace("|", "/")
        yield f"| {number} | {at} | {words} | {longest.get(number, '-')} |"
    yield ""
