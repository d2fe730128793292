"""Loading: what was written is what is there, wherever and in whatever order it was written."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.cluster import ClusterSpec
from specs.diff import diff
from specs.document import Model
from specs.errors import SpecErrors
from specs.load import ObjectRef, Source, load, load_one
from tests.specs.catalogue import Catalogue, FloatingIp
from tests.specs.sets import ADDRESS, CLUSTER, GROUP, PROGRAM, SOUND, loaded, only, refused, server


def test_a_set_has_its_objects_by_kind_and_name() -> None:
    specs = loaded(*SOUND)
    assert specs.cluster is not None
    assert specs.cluster.metadata.name == "demo"
    assert list(specs.servers) == ["n1", "n2", "n3"]
    assert [item.metadata.name for item in specs.resources_of("web")] == ["web-app", "web-ip"]
    assert specs.eligible_servers("web") == ("n1", "n2", "n3")
    assert str(next(iter(specs.objects))) == "Cluster/demo"


def test_a_resource_carries_the_spec_of_its_type() -> None:
    spec = loaded(*SOUND).resources["web-ip"].spec
    assert isinstance(spec, FloatingIp)
    assert spec.addresses() == ("10.77.2.100",)
    assert spec.start_timeout == 30.0


def test_an_alias_of_a_type_becomes_its_name() -> None:
    specs = loaded(*SOUND[:-2], ADDRESS.replace("floating-ip", "fip"), PROGRAM)
    assert specs.resources["web-ip"].spec.type == "floating-ip"
    assert diff(loaded(*SOUND), specs) == ()


def test_fence_levels_are_validated_and_complete() -> None:
    fencing = loaded(*SOUND).servers["n1"].spec.fencing
    assert fencing is not None
    assert fencing.levels[0]["port"] == 623
    assert fencing.levels[0]["timeout"] == "5s"
    assert fencing.after_fence == "on"


def test_each_object_keeps_its_exact_text_and_place() -> None:
    specs = loaded(*SOUND)
    for text, ref in ((CLUSTER, "Cluster/demo"), (ADDRESS, "Resource/web-ip")):
        assert specs.objects[ObjectRef.parse(ref)].text == text
    assert specs.objects[ObjectRef("Cluster", "demo")].line == 2


def test_the_text_of_an_object_loads_as_the_same_object() -> None:
    for header in ("", "# licence\n---\n", "%\n".replace("%", "#"), "---\n", "--- # here\n"):
        specs = loaded(header + CLUSTER, *SOUND[1:])
        again = [Source(item.source, item.text.encode()) for item in specs.objects.values()]
        assert diff(specs, load(again, Catalogue())) == ()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_markers_comments_and_empty_documents_are_no_objects(newline: str) -> None:
    text = f"# head\n---\n---\n{CLUSTER}...\n---\n# nothing\n---\n---   \n{GROUP}---\n"
    specs = load([Source("a", text.replace("\n", newline).encode("utf-8-sig"))], Catalogue())
    assert [str(ref) for ref in specs.objects] == ["Cluster/demo", "Group/web"]
    assert (
        specs.objects[ObjectRef("Group", "web")].line == text[: text.index(GROUP)].count("\n") + 1
    )


def test_a_marker_inside_a_block_of_text_is_text() -> None:
    text = PROGRAM + '  stopTimeout: "30s"\n'
    text = text.replace("[python3, -m, http.server]", "\n    - |\n      ---\n      a: b\n")
    specs = loaded(*SOUND[:-1], text)
    assert specs.resources["web-app"].spec.to_json()["command"] == ["---\na: b\n"]


@given(st.permutations(SOUND), st.lists(st.integers(min_value=1, max_value=6), max_size=3))
def test_order_and_files_make_no_difference(order: Sequence[str], cuts: list[int]) -> None:
    edges = [0, *sorted(set(cuts)), len(order)]
    sources = [
        Source(f"{first}.yaml", "---\n".join(order[first:last]).encode())
        for first, last in itertools.pairwise(edges)
    ]
    specs = load(sources, Catalogue())
    sound = loaded(*SOUND)
    assert list(specs.objects) == list(sound.objects)
    for ref, item in specs.objects.items():
        assert (item.model, item.text) == (sound.objects[ref].model, sound.objects[ref].text)


def test_words_of_older_yaml_are_text() -> None:
    specs = loaded(CLUSTER.replace("{name: demo}", "{name: demo, labels: {a: on, b: no, c: 1:30}}"))
    assert specs.cluster is not None
    assert specs.cluster.metadata.labels == {"a": "on", "b": "no", "c": "1:30"}


def test_aliases_are_expanded_and_share_nothing() -> None:
    text = GROUP + "  failover: &policy {maxFailures: 2}\n"
    specs = loaded(text.replace("[n1, n2, n3]", "&all [n1, n2]"))
    assert specs.groups["web"].spec.failover.max_failures == 2
    both = "  fencing: {levels: [&bmc {type: ipmi, address: 10.77.3.1}, *bmc]}\n"
    changed = loaded(server(1).split("  fencing")[0] + both)
    fencing = changed.servers["n1"].spec.fencing
    assert fencing is not None
    assert fencing.levels[0] == fencing.levels[1]


def test_two_objects_of_one_name_are_refused_with_both_places() -> None:
    problem = only(refused(GROUP + "---\n" + GROUP))
    assert problem.code == "E0107"
    assert str(problem).startswith("web.yaml:11:9  metadata.name: Group/web is already in ")
    assert "web.yaml:1" in problem.message


def test_no_sources_are_an_empty_set_but_an_empty_file_is_an_error() -> None:
    assert not load([], Catalogue()).objects
    for text in ("", "\n\n", "# only a comment\n", "---\n...\n"):
        assert only(refused(text)).code == "E0009"


def test_all_problems_of_a_set_come_at_once_in_order() -> None:
    broken = [
        Source("a.yaml", CLUSTER.replace("cidr: 10.77.1.0/24", "cidr: ten").encode()),
        Source("b.yaml", b"a: [1"),
        Source("c.yaml", (GROUP + "  nope: 1\n---\n" + ADDRESS.replace("24", "99")).encode()),
    ]
    with pytest.raises(SpecErrors) as caught:
        load(broken, Catalogue())
    found = [(problem.file, problem.code) for problem in caught.value.problems]
    assert found == [
        ("a.yaml", "E0105"),
        ("b.yaml", "E0004"),
        ("c.yaml", "E0102"),
        ("c.yaml", "E0105"),
    ]
    assert str(caught.value).count("\n") == 3


def test_a_merged_set_has_the_newer_objects() -> None:
    old = loaded(*SOUND)
    new = loaded(GROUP.replace("n1, n2, n3", "n1"))
    merged = old.merged(new, remove=[ObjectRef("Resource", "web-app")])
    assert merged.eligible_servers("web") == ("n1",)
    assert list(merged.resources) == ["web-ip"]
    assert list(old.resources) == ["web-app", "web-ip"]


class Settings(Model):
    cluster: str
    spec: ClusterSpec | None = None


def test_one_document_of_a_configuration_file() -> None:
    assert load_one(Source("agent.yaml", b"cluster: demo\n"), Settings).cluster == "demo"
    for text, code in ((b"clutser: demo", "E0102"), (b"", "E0009"), (b"a: [", "E0004")):
        with pytest.raises(SpecErrors) as caught:
            load_one(Source("agent.yaml", text), Settings)
        assert code in {problem.code for problem in caught.value.problems}
