"""Differences: exact, with what they disturb; equal sets have none however they are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.diff import FieldChange, diff
from specs.load import ObjectRef
from tests.specs.sets import CLUSTER, GROUP, SOUND, loaded, replaced


@given(st.permutations(SOUND))
def test_equal_sets_have_no_difference(order: list[str]) -> None:
    assert diff(loaded(*SOUND), loaded(*order)) == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("servers: [n1, n2, n3]", "servers: [n1, n2, n3]\n  startup: auto  # said aloud"),
        ("servers: [n1, n2, n3]", "servers:\n  - n1\n  - 'n2'\n  - \"n3\""),
        ("{profile: default}", "{profile: default}\n  startupBarrier: 1m"),
        ("type: ipmi, ", "type: ipmi, port: 623, timeout: 5000ms, "),
    ],
)
def test_layout_comments_and_defaults_are_no_difference(old: str, new: str) -> None:
    assert diff(loaded(*SOUND), loaded(*replaced(old, new))) == ()


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (
            "10.77.2.100/24",
            "10.77.2.101/24",
            FieldChange("spec.address", "10.77.2.100/24", "10.77.2.101/24", "resource"),
        ),
        (
            "[n1, n2, n3]",
            "[n1, n2]",
            FieldChange("spec.servers", ["n1", "n2", "n3"], ["n1", "n2"], "group"),
        ),
        (
            "[n1, n2, n3]",
            "[n1, n2, n3]\n  failover: {window: 2h}",
            FieldChange("spec.failover.window", "1h", "2h", "none"),
        ),
        (
            "profile: default",
            "deadMan: 5s",
            FieldChange("spec.timing.deadMan", None, "5s", "none"),
        ),
        (
            "public: 10.77.2.11",
            "public: 10.77.2.21",
            FieldChange("spec.addresses.public", "10.77.2.11", "10.77.2.21", "server"),
        ),
        (
            "{name: demo}",
            "{name: demo, labels: {a: b}}",
            FieldChange("metadata.labels.a", None, "b", "none"),
        ),
        (
            "cidr: 10.77.1.0/24}",
            "cidr: 10.77.1.0/24, heartbeat: false}",
            FieldChange("spec.networks[0].heartbeat", True, False, "none"),
        ),
        (
            "dependsOn: [web-ip]",
            "dependsOn: []",
            FieldChange("spec.dependsOn", ["web-ip"], [], "none"),
        ),
    ],
)
def test_a_change_names_its_field_and_what_it_disturbs(
    old: str, new: str, change: FieldChange
) -> None:
    (found,) = diff(loaded(*SOUND), loaded(*replaced(old, new)))
    assert (found.kind, found.fields, found.impact) == ("changed", (change,), change.impact)


def test_whole_objects_come_and_go() -> None:
    small, large = loaded(CLUSTER), loaded(CLUSTER, GROUP)
    (added,) = diff(small, large)
    assert (added.ref, added.kind, added.fields) == (ObjectRef("Group", "web"), "added", ())
    (removed,) = diff(large, small)
    assert (removed.ref, removed.kind, removed.impact) == (added.ref, "removed", "group")
    assert [change.kind for change in diff(None, large)] == ["added", "added"]


def test_another_type_is_another_resource() -> None:
    (change,) = diff(
        loaded(*SOUND),
        loaded(
            *replaced(
                "type: floating-ip\n  address: 10.77.2.100/24",
                "type: application\n  command: [sleep]",
            )
        ),
    )
    assert {field.path: field.impact for field in change.fields} == {
        "spec.type": "resource",
        "spec.command": "resource",
        "spec.address": "resource",
    }
