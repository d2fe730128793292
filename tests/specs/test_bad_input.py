"""Bad input: one clear message at its place, whatever the input is, and never a traceback."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from specs.errors import CODES, SpecErrors
from specs.load import Source, load
from tests.specs.catalogue import Catalogue
from tests.specs.sets import ADDRESS, CLUSTER, GROUP, PROGRAM, SOUND, joined, only, refused, server

MONITOR = """\
apiVersion: clusterctl/v1
kind: Monitor
metadata: {name: m}
spec: {type: http, target: group/web}
"""


def test_an_unknown_key_names_the_nearest_one() -> None:
    problem = only(refused(ADDRESS + "  intreface: eth1\n"))
    assert str(problem) == (
        "web.yaml:8:3  spec.intreface: unknown key, did you mean 'interface'? [E0102]"
    )


def test_an_unknown_key_without_a_near_one_lists_the_keys() -> None:
    assert "known here: servers" in only(refused(GROUP + "  xyz: 1\n")).message


def test_a_misspelt_required_key_is_two_problems_of_one_place() -> None:
    found = {problem.code: problem for problem in refused(ADDRESS.replace("address:", "adress:"))}
    assert found["E0102"].path == "spec.adress"
    assert (found["E0103"].path, found["E0103"].line) == ("spec.address", 4)


@pytest.mark.parametrize(
    ("text", "place", "message", "code"),
    [
        (GROUP.replace("[n1, n2, n3]", "n1"), "6:12", "expected a list, found text", "E0104"),
        (GROUP.replace("n2", "2"), "6:17", "expected text, found a number", "E0104"),
        (GROUP.replace("n2", "n1"), "6:12", "'n1' is listed twice", "E0105"),
        (GROUP.replace("n1, n2, n3", ""), "6:12", "needs at least 1 entry", "E0105"),
        (GROUP + "  startup: atuo\n", "7:12", "did you mean 'auto'?", "E0105"),
        (GROUP + "  failover: {maxFailures: '3'}\n", "7:27", "expected a whole number", "E0104"),
        (GROUP + "  failover: {maxFailures: true}\n", "7:27", "found true or false", "E0104"),
        (GROUP + "  failover: {maxFailures: 0}\n", "7:27", "must be at least 1", "E0105"),
        (GROUP + "  failover: {window: 3600}\n", "7:22", "write it with a unit", "E0105"),
        (GROUP + "  failover: {window: 1ms}\n", "7:22", "must be at least 1s", "E0105"),
        (GROUP + "  failover: []\n", "7:13", "expected a mapping, found a list", "E0104"),
        (GROUP + "  serverGroups: [left]\n", "6:3", "not both", "E0105"),
        (GROUP + "  startup:\n", "7:3", "found nothing", "E0105"),
        (GROUP.replace("name: web", "name: Web"), "4:9", "is not a name", "E0105"),
        (GROUP.replace("name: web", "nam: web"), "3:1", "required, but missing", "E0103"),
        (GROUP.replace("Group", "Gruop"), "2:7", "did you mean 'Group'?", "E0101"),
        (GROUP.replace("v1", "v2"), "1:13", "did you mean 'clusterctl/v1'?", "E0101"),
        (GROUP.replace("kind", "knid"), "1:1", "missing, did you mean 'knid'?", "E0103"),
        (GROUP.replace("Group", "[]"), "2:7", "expected text, found a list", "E0104"),
        (ADDRESS.replace("floating-ip", "floatingip"), "6:9", "did you mean 'flo", "E0106"),
        (ADDRESS.replace("floating-ip", "x"), "6:9", "installed: application, flo", "E0106"),
        (ADDRESS.replace("  type: floating-ip\n", ""), "4:1", "required", "E0103"),
        (ADDRESS.replace("type: floating-ip", "type: 1"), "6:9", "expected text", "E0104"),
        (ADDRESS.replace("/24", ""), "7:12", "has no prefix length", "E0105"),
        (PROGRAM.replace("[python3, -m, http.server]", "[]"), "7:12", "at least 1", "E0105"),
        (server(1).replace("10.77.1.11", "10.77.1"), "5:24", "is not an IPv4 or", "E0105"),
        (server(1).replace("type: ipmi", "type: ipim"), "8:16", "did you mean 'ipmi'?", "E0106"),
        (server(1).replace("type: ipmi, ", ""), "8:9", "installed: ipmi", "E0106"),
        (server(1).replace("file:", "flie:"), "8:58", "did you mean 'file'?", "E0102"),
        (server(1).replace("address: 10", "port: 99999, address: 10"), "8:28", "65535", "E0105"),
        (CLUSTER.replace("name: public", "name: private"), "7:5", "is listed twice", "E0105"),
        (CLUSTER.replace("10.77.2.0", "10.77.2.1"), "8:28", "'10.77.2.0/24'", "E0105"),
        (CLUSTER.replace("default", "fast"), "9:21", "did you mean 'fast-lan'?", "E0105"),
        ("- 1\n- 2\n", "1:1", "found a list", "E0101"),
        ("hello\n", "1:1", "found text", "E0101"),
        (MONITOR, "4:14", "no monitor types are installed", "E0106"),
    ],
)
def test_a_wrong_value_is_named_at_its_place(
    text: str, place: str, message: str, code: str
) -> None:
    problems = refused(text)
    lines = [str(problem) for problem in problems if problem.code == code]
    assert any(f"web.yaml:{place} " in line and message in line for line in lines), lines


@pytest.mark.parametrize(
    ("text", "place", "message", "code"),
    [
        ("a: [1, 2\nb: 3\n", "2:2", "not YAML: expected ',' or ']'", "E0004"),
        ("a: 'x\n", "2:1", "not YAML: found unexpected end", "E0004"),
        ("a: b: c\n", "1:5", "mapping values are not allowed", "E0004"),
        ("\ta: 1\n", "1:1", "that cannot start any token", "E0004"),
        ('a: "\\UFFFFFFFF"\n', "1:1", "cannot be read from here on", "E0004"),
        ("a: \x07\n", "1:4", "U+0007; is this a binary file?", "E0003"),
        ("a: \x00\n", "1:4", "U+0000; is this a binary file?", "E0003"),
        ('a: "\\0"\n', "1:4", "unprintable character", "E0008"),
        ('a: "\\ud800"\n', "1:4", "unprintable character", "E0008"),
        ("a: .nan\n", "1:4", "is not a finite number", "E0008"),
        ("a: 1e999\n", "1:4", "is not a finite number", "E0008"),
        ("a: !!python/object:os.system x\n", "1:4", "tags (!) are not supported", "E0008"),
        ("<<: {a: 1}\n", "1:1", "merge keys (<<)", "E0008"),
        ("1: a\n", "1:1", "must be quoted to be a text", "E0008"),
        ("? [a]\n: b\n", "1:3", "a key must be a plain text", "E0008"),
        ("%YAML 1.1\n---\na: on\n", "1:1", "this is YAML 1.2", "E0008"),
        ("a: *nobody\n", "1:4", "alias *nobody refers to nothing", "E0007"),
        ("a: &a [*a]\n", "1:8", "alias *a refers to nothing that ends", "E0007"),
        (GROUP + "spec: {}\n", "7:1", "spec: given twice, first on line 5", "E0005"),
        (GROUP + "  servers: [n9]\n", "7:3", "spec.servers: given twice", "E0005"),
    ],
)
def test_text_without_a_meaning_is_refused_at_its_place(
    text: str, place: str, message: str, code: str
) -> None:
    lines = [str(problem) for problem in refused(text) if problem.code == code]
    assert any(f"web.yaml:{place} " in line and message in line for line in lines), refused(text)


def test_a_binary_file_is_one_problem() -> None:
    assert only(refused(bytes(range(256)) * 100)).code == "E0003"
    assert only(refused(b"\x7fELF\x02\x01\x01\x00\x00")).code == "E0003"
    assert only(refused("a: 1".encode("utf-16"))).code == "E0003"


def test_a_file_of_ten_megabytes_is_refused_unread() -> None:
    problem = only(refused(b"a: [" * 2_500_000))
    assert (problem.code, str(problem)) == ("E0002", "web.yaml  larger than 8 MiB [E0002]")


def test_one_document_may_not_fill_a_file() -> None:
    assert only(refused("# x\n" * 70_000 + GROUP)).code == "E0002"


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 50_000, "- " * 100_000, "? " * 50_000])
def test_deep_nesting_is_one_problem(text: str) -> None:
    assert only(refused(text)).code in {"E0006", "E0008"}


def test_an_alias_bomb_is_one_problem() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert only(refused("\n".join(lines))).code == "E0007"
    long = f"a: &a {'x' * 200_000}\nb: [{', '.join(['*a'] * 100)}]\n"
    assert only(refused(long)).code == "E0007"


def test_aliases_cannot_nest_deeper_than_text_can() -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 2000))]
    assert only(refused("\n".join(lines))).code == "E0006"


def test_one_document_may_not_hold_a_world() -> None:
    problem = only(refused("- a\n" * 30_000))
    assert str(problem) == (
        "web.yaml:20002:3  [20001]: more than 20000 values in one document [E0002]"
    )


def test_the_wrong_file_is_not_listed_line_by_line() -> None:
    problems = refused("---\nhello\n" * 50_000)
    assert len(problems) == 1002
    assert problems[-1].code == "E0010"
    repeated = refused("a: 1\n" * 5_000)
    assert len(repeated) == 100


@pytest.mark.parametrize(
    "unit", ["!", "&", "*", ":", "'", '"', "x ", "#\n", "\n", "--- #\n", "a: 1\r"]
)
def test_endless_punctuation_is_refused(unit: str) -> None:
    assert refused(unit * (100_000 // len(unit)))


def test_a_broken_document_does_not_hide_the_next() -> None:
    problems = refused(f"a: [\n---\n{GROUP}  nope: 1\n---\n- 1\n")
    assert [problem.code for problem in problems] == ["E0004", "E0102", "E0101"]
    assert [problem.line for problem in problems][1:] == [9, 11]


def test_a_secret_in_the_wrong_place_is_not_printed() -> None:
    text = server(1).replace("passwordFrom: {file: /etc/secret}", "passwordFrom: hunter2")
    text += "  password: hunter2\n"
    for problem in refused(text):
        assert "hunter2" not in str(problem)


def refused_or_loaded(data: bytes) -> None:
    """Passes when the loader takes the data, or says in known words why not."""
    try:
        load([Source("x", data)], Catalogue())
    except SpecErrors as error:
        refusal = error
    else:
        return
    assert {problem.code for problem in refusal.problems} <= set(CODES)
    assert len(str(refusal).splitlines()) == len(refusal.problems) > 0


PUNCTUATION = "aAb01:-?,[]{}#&*!|>'\"%@` \t\n\r.~<=\\/x\x85\u2028"


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from(PUNCTUATION), max_size=60))
@example("!<")
@example("&")
@example("- !!")
@example("? |\n - x")
def test_any_punctuation_is_refused_in_words(text: str) -> None:
    refused_or_loaded(text.encode())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_refused_in_words(data: bytes) -> None:
    refused_or_loaded(data)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(min_value=0, max_value=len(joined(*SOUND)) - 1),
    st.integers(min_value=0, max_value=12),
    st.sampled_from(["", "x", ":", "- ", "\n", "{", "]", "'", "&a ", "*a", "null", "0", "!t "]),
)
def test_any_slip_of_the_pen_is_refused_in_words(place: int, cut: int, slip: str) -> None:
    text = joined(*SOUND)
    refused_or_loaded((text[:place] + slip + text[place + cut :]).encode())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["Cluster", "Server", "ServerGroup", "Group", "Resource", "Monitor"]),
    st.sampled_from(
        ["servers", "addresses", "fencing", "networks", "timing", "type", "group", "command"]
    ),
    json_values,
    json_values,
)
def test_any_value_in_any_place_is_refused_in_words(
    kind: str, key: str, value: object, metadata: object
) -> None:
    spec = {"type": "fip", key: value}
    data = {"apiVersion": "clusterctl/v1", "kind": kind, "metadata": metadata, "spec": spec}
    refused_or_loaded(json.dumps(data, ensure_ascii=True).encode())
