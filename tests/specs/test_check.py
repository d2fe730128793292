"""Rules that span objects: each fault is named once, at the field that has to change."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.check import check, errors_of
from specs.errors import CODES, Severity
from specs.load import load
from tests.specs.catalogue import Catalogue
from tests.specs.sets import (
    ADDRESS,
    CLUSTER,
    GROUP,
    PROGRAM,
    SOUND,
    checked,
    loaded,
    only,
    replaced,
    server,
)


def test_a_sound_set_has_no_problem() -> None:
    assert checked(*SOUND) == []


@pytest.mark.parametrize(
    ("old", "new", "path", "message", "code"),
    [
        (
            "[n1, n2, n3]",
            "[n1, m2]",
            "spec.servers[1]",
            "'m2'; known: n1, n2, n3",
            "E0201",
        ),
        ("group: web\n  type: f", "group: wbe\n  type: f", "spec.group", "mean 'web'?", "E0201"),
        ("[web-ip]", "[web-pi]", "spec.dependsOn[0]", "did you mean 'web-ip'?", "E0201"),
        ("[web-ip]", "[web-app]", "spec.dependsOn[0]", "web-app -> web-app", "E0202"),
        ("public: 10.77.2.12", "public: 10.77.9.12", "spec.addresses.public", "outside", "E0302"),
        ("public: 10.77.2.12", "pubic: 10.77.2.12", "spec.addresses.pubic", "'public'?", "E0303"),
        ("10.77.2.100/24", "10.78.2.100/24", "spec.address", "every network of n1 (", "E0304"),
        ("10.77.2.0/24", "10.77.0.0/16", "spec.networks[1].cidr", "overlaps", "E0305"),
        ("10.77.2.100/24", "10.77.2.12/24", "spec.address", "already server 'n2'", "E0301"),
        ("10.77.1.13", "10.77.1.12", "spec.addresses.private", "already server 'n2'", "E0301"),
        (
            "address: 10.77.3.12",
            "address: 10.77.3.11",
            "spec.fencing.levels[0].address",
            "already the fence device of server 'n1' (web.yaml:18)",
            "E0301",
        ),
        (
            "address: 10.77.3.12",
            "address: 10.77.1.11",
            "spec.fencing.levels[0].address",
            "already server 'n1' in network 'private'",
            "E0301",
        ),
    ],
)
def test_a_fault_between_objects_is_one_error_at_its_field(
    old: str, new: str, path: str, message: str, code: str
) -> None:
    errors = [
        problem for problem in errors_of(checked(*replaced(old, new))) if problem.path == path
    ]
    problem = only(errors)
    assert problem.code == code
    assert message in problem.message
    assert problem.line > 0


def test_resources_that_wait_for_each_other_are_named_in_a_circle() -> None:
    other = PROGRAM.replace("web-app", "zoo").replace("[web-ip]", "[web-app]")
    documents = (
        *SOUND[:-2],
        ADDRESS + "  dependsOn: [zoo]\n",
        PROGRAM,
        other,
    )
    problem = only(checked(*documents))
    assert problem.message == "depends on itself: web-app -> web-ip -> zoo -> web-app"
    assert (problem.code, problem.path) == ("E0202", "spec.dependsOn[0]")


def test_two_circles_are_two_errors() -> None:
    def pair(first: str, second: str) -> tuple[str, str]:
        one = PROGRAM.replace("web-app", first).replace("[web-ip]", f"[{second}]")
        return one, PROGRAM.replace("web-app", second).replace("[web-ip]", f"[{first}]")

    problems = checked(*SOUND, *pair("a", "b"), *pair("c", "d"))
    assert [problem.message.split(": ")[1] for problem in problems] == [
        "a -> b -> a",
        "c -> d -> c",
    ]


def test_a_chain_of_a_thousand_resources_is_no_circle() -> None:
    chain = [
        PROGRAM.replace("web-app", f"r{n}").replace("[web-ip]", f"[r{n + 1}]") for n in range(1000)
    ]
    assert checked(*SOUND, *chain, PROGRAM.replace("web-app", "r1000")) == []


def test_a_dependency_on_another_group_is_refused() -> None:
    other = GROUP.replace("name: web", "name: db")
    moved = PROGRAM.replace("group: web", "group: db")
    problem = only(checked(*SOUND[:-1], other, moved))
    assert (problem.code, problem.path) == ("E0203", "spec.dependsOn[0]")


def test_a_group_that_no_server_may_run_is_refused() -> None:
    documents = (CLUSTER, GROUP.replace("  servers: [n1, n2, n3]\n", "  failback: manual\n"))
    codes = {problem.code: problem for problem in checked(*documents, ADDRESS)}
    assert codes["E0205"].message == "no server may run this group: the set has no Server"


def test_server_groups_name_the_servers_in_their_order() -> None:
    halves = [
        f"apiVersion: clusterctl/v1\nkind: ServerGroup\nmetadata: {{name: {name}}}\n"
        f"spec: {{servers: [{servers}]}}\n"
        for name, servers in (("left", "n2, n1"), ("right", "n3, n1"))
    ]
    group = GROUP.replace("servers: [n1, n2, n3]", "serverGroups: [right, left]")
    documents = (*SOUND[:4], *halves, group, ADDRESS)
    assert checked(*documents) == []
    assert loaded(*documents).eligible_servers("web") == ("n3", "n1", "n2")
    broken = only(checked(*SOUND[:4], halves[0], group, ADDRESS))
    assert (broken.code, broken.path) == ("E0201", "spec.serverGroups[0]")


def test_there_is_exactly_one_cluster() -> None:
    assert [problem.code for problem in checked(*SOUND[1:])] == ["E0204"]
    second = CLUSTER.replace("{name: demo}", "{name: other}")
    problem = only(checked(*SOUND, second))
    assert problem.code == "E0204"
    assert "Cluster/demo is in web.yaml:2" in problem.message
    assert [problem.code for problem in check(load([], Catalogue()), Catalogue())] == ["E0204"]


@pytest.mark.parametrize(
    ("servers", "message"),
    [(1, "one server"), (2, "add a third voting server"), (4, "no more failures than 3")],
)
def test_a_weak_quorum_is_a_warning(servers: int, message: str) -> None:
    group = GROUP.replace("n1, n2, n3", "n1")
    documents = (CLUSTER, *map(server, range(1, servers + 1)), group, ADDRESS, PROGRAM)
    problem = only(checked(*documents))
    assert (problem.code, problem.severity) == ("W0601", Severity.WARNING)
    assert message in problem.message


def test_a_server_without_fencing_is_a_warning() -> None:
    bare = server(2).split("  fencing:")[0]
    problem = only(checked(*SOUND[:2], bare, *SOUND[3:]))
    assert (problem.code, problem.severity) == ("W0602", Severity.WARNING)
    assert "stay blocked after a crash" in problem.message
    assert str(problem).startswith("web.yaml:23:1  warning: spec.fencing: ")


def test_heartbeats_need_a_network_and_want_two() -> None:
    one = CLUSTER.replace("10.77.2.0/24}", "10.77.2.0/24, heartbeat: false}")
    assert only(checked(one, *SOUND[1:])).code == "W0604"
    none = one.replace("10.77.1.0/24}", "10.77.1.0/24, heartbeat: false}")
    assert {problem.code for problem in errors_of(checked(none, *SOUND[1:]))} == {"E0402", "E0303"}


def test_a_server_outside_a_network_is_a_warning_and_takes_no_address_there() -> None:
    documents = replaced(", public: 10.77.2.12", "")
    problems = checked(*documents)
    assert [problem.code for problem in problems] == ["W0303", "E0304"]
    assert "outside every network of n2 (10.77.1.0/24)" in problems[1].message


def test_two_levels_may_reach_one_device() -> None:
    again = "      - {type: ipmi, address: 10.77.3.11, port: 624}\n"
    assert checked(CLUSTER, server(1) + again, *SOUND[2:]) == []


def test_a_group_without_resources_is_a_warning() -> None:
    assert only(checked(*SOUND, GROUP.replace("name: web", "name: db"))).code == "W0603"


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(min_value=0, max_value=len(SOUND) - 1), min_size=1))
def test_any_part_of_a_set_is_checked_in_known_words(parts: set[int]) -> None:
    problems = checked(*(SOUND[number] for number in sorted(parts)))
    assert {problem.code for problem in problems} <= set(CODES)
    assert problems == sorted(problems, key=lambda at: (at.file, at.line, at.column))
