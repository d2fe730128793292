"""Tables, marks and the failover timeline."""

from clusterctl.render.style import Style, Tone, tone_of
from clusterctl.render.table import age, clean, table, width
from clusterctl.render.timeline import failover_steps, outage_lines, timeline_lines
from reconciler.decide.records import EventRecord


def event(name: str, at_ms: float, server: str = "n2", **fields: object) -> EventRecord:
    return EventRecord(
        id=f"{at_ms:026.0f}", name=name, server=server, at_wall=1000 + at_ms / 1000, fields=fields
    )


def test_columns_line_up_with_wide_characters_and_colours() -> None:
    style = Style(color=True)
    lines = table(("NAME", "STATE"), [("漢字", style.mark("online")), ("a", "offline")])
    assert width("漢字") == 4
    assert [width(line[: line.index(word)]) for line, word in zip(lines[1:], ("\x1b", "off"), strict=True)] == [6, 6]  # fmt: skip  # noqa: E501


def test_text_of_others_cannot_command_the_terminal() -> None:
    assert clean("a\x1b[2J\nb") == "a [2J b"


def test_a_state_that_nobody_knows_is_never_green() -> None:
    assert tone_of("brilliant") is Tone.UNKNOWN
    assert Style(ascii_only=True).mark("blocked") == "[XX] blocked"
    assert Style(ascii_only=True).plain("a → ü") == "a -> ?"


def test_ages() -> None:
    assert [age(s) for s in (-1, 59, 60, 7200, 200000)] == ["0s", "59s", "1m", "2h", "2d"]


def test_the_timeline_takes_the_first_event_of_each_step() -> None:
    events = [
        event("group_online", -5000, group="web"),
        EventRecord(id="1", name="server_challenged", server="n2", at_wall=1000.06,
                    fields={"server": "n1"}),
        EventRecord(id="2", name="server_challenged", server="n3", at_wall=1000.09,
                    fields={"server": "n1"}),
        EventRecord(id="3", name="fence_requested", server="n2", at_wall=1000.21,
                    fields={"server": "n1"}),
        EventRecord(id="4", name="fence_requested", server="n2", at_wall=1000.11,
                    fields={"server": "n3"}),
        EventRecord(id="5", name="fence_executed", server="n2", at_wall=1000.25,
                    fields={"server": "n1"}),
        EventRecord(id="6", name="group_granted", server="n2", at_wall=1000.26,
                    fields={"server": "n2", "group": "web"}),
        event("group_online", 300, group="db"),
        event("group_online", 310, group="web"),
        event("client_answered", 320, group="web"),
    ]  # fmt: skip
    steps = failover_steps(events, group="web", victim="n1", start_wall=1000.0)
    assert [(step.name, round(step.at_ms)) for step in steps] == [
        ("challenged", 60),
        ("condemned", 210),
        ("fenced", 250),
        ("owned", 260),
        ("activated", 310),
        ("answered", 320),
    ]
    lines = timeline_lines(steps, ascii_only=True)
    assert lines[1].startswith("challenged  60   +60    n2  ####")
    assert len(lines) == 7


def test_nothing_recorded_is_said() -> None:
    assert timeline_lines(()) == ["no step of a failover was recorded"]
    assert outage_lines([("crash of n1", 0.42)])[1] == "crash of n1  0.42 s"
