"""Schema and documentation come from the models, so every field has all of it."""

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from specs.errors import UnknownTopic
from specs.fields import extra_of, fields_of, models_in
from specs.scalars import IMPACTS
from specs.schema import explain, json_schema, topics
from specs.spec_set import KINDS
from tests.specs.catalogue import Catalogue

TYPES = Catalogue()


def models_below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for info in fields_of(model).values():
        arguments = getattr(info.annotation, "__args__", ())
        for annotation in (info.annotation, *arguments):
            for inner in models_in(annotation):
                yield from models_below(inner)


def every_path() -> list[str]:
    return [
        f"{topic}.{key}"
        for topic, model in KINDS.items()
        for inner in [model]
        for key in fields_of(inner)
    ]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_field_has_a_description_and_an_impact(kind: str) -> None:
    for model in models_below(KINDS[kind]):
        assert model.model_config.get("extra") == "forbid", model
        assert model.model_config.get("frozen"), model
        for key, info in fields_of(model).items():
            assert info.description, f"{model.__name__}.{key}"
            assert info.description.endswith("."), f"{model.__name__}.{key}"
            assert extra_of(info).get("impact") in IMPACTS, f"{model.__name__}.{key}"


@pytest.mark.parametrize("topic", topics(TYPES))
def test_every_topic_has_a_closed_schema_and_a_page(topic: str) -> None:
    schema = json_schema(topic, TYPES)
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["additionalProperties"] is False
    assert explain(topic, TYPES).startswith(f"{topic}\n\n")
    for key in schema["properties"]:
        assert explain(f"{topic}.{key}", TYPES)


def test_a_schema_says_what_text_must_have() -> None:
    schema = json_schema("resource/fip", TYPES)
    assert schema["title"] == "resource/floating-ip"
    assert schema["required"] == ["apiVersion", "kind", "metadata", "spec"]
    spec = schema["$defs"]["FloatingIp"]
    assert spec["properties"]["startTimeout"]["pattern"].startswith("^([0-9]")
    assert spec["properties"]["address"]["impact"] == "resource"


def test_the_schema_of_resources_holds_every_type() -> None:
    found = json_schema("Resource", TYPES)["properties"]["spec"]["anyOf"]
    assert {entry["$ref"] for entry in found} == {"#/$defs/Application", "#/$defs/FloatingIp"}


def test_a_field_is_explained_with_all_its_facts() -> None:
    assert explain("group.spec.failover.window", TYPES) == (
        "Group.spec.failover.window\n\n"
        "Time after which a failure no longer counts.\n\n"
        "  type      duration (such as 30s)\n"
        "  required  no\n"
        "  default   1h\n"
        "  range     at least 1s\n"
        "  impact    none (a change disturbs nothing)\n"
        "  example   1h\n"
    )


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("groups.failover", ["Group.spec.failover\n", "maxFailures <whole number>"]),
        ("server-group", ["ServerGroup\n", "servers <list of name, required>"]),
        (
            "cluster.timing.sessionttl",
            ["spec.timing.sessionTTL", "from the profile", "at most 10m"],
        ),
        ("cluster.networks", ["list of mapping", "cidr <network (address/prefix), required>"]),
        ("server.fencing.levels", ["explain fence/ipmi"]),
        ("server.addresses", ["mapping of name to IP address", '{"private":']),
        ("resource", ["explain resource/floating-ip", "group <name, required>"]),
        ("resource/fip", ["An address that follows the group.", "address <IP address/prefix"]),
        ("resource/fip.address", ["required  yes", "example   10.77.2.100/24"]),
        ("fence/ipmi.timeout", ["default   5s"]),
        ("monitor", ["No monitor types are installed."]),
        ("group.kind", ["required  yes"]),
        ("group.spec.proofs", ["list of released | fenced | expired | confirmed"]),
    ],
)
def test_explain_answers_as_users_ask(path: str, words: list[str]) -> None:
    page = explain(path, TYPES)
    for word in words:
        assert word in page, page


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("grup", "did you mean 'Group'?"),
        ("group.failovr", "did you mean 'failover'?"),
        ("group.spec.failover.max", "did you mean 'maxFailures'?"),
        ("resource/flaoting-ip", "did you mean 'resource/floating-ip'?"),
        ("group.startup.x", "unknown field"),
        ("", "known: Cluster"),
        ("group.spec.xyzzy", "known: servers"),
    ],
)
def test_an_unknown_topic_names_the_nearest(path: str, words: str) -> None:
    with pytest.raises(UnknownTopic) as caught:
        explain(path, TYPES)
    assert words in str(caught.value)
    assert isinstance(caught.value, LookupError)
