"""Records carry a schema number: the newest that every agent in session reads is written."""

import pytest
from pydantic import ValidationError

from reconciler.decide import membership
from reconciler.decide.membership import common_schema
from reconciler.decide.records import SCHEMA, Ownership, Session
from tests.decide.build import Scene


def reads(scene: Scene, server: str, schema: int) -> Scene:
    stored = scene.tables["sessions"][server].record
    return scene.put("sessions", server, stored.model_copy(update={"reads_schema": schema}))


def test_the_oldest_agent_in_session_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "SCHEMA", 3)
    monkeypatch.setattr(membership, "OLDEST_SCHEMA", 2)
    scene = Scene()
    for name in ("n1", "n2", "n3"):
        reads(scene, name, 3)
    assert common_schema(scene.snapshot()) == 3
    reads(scene, "n2", 2)
    assert common_schema(scene.snapshot()) == 2
    scene.no_session("n2")
    assert common_schema(scene.snapshot()) == 3
    reads(scene, "n3", 9)  # somebody newer than us
    assert common_schema(scene.snapshot()) == 3
    reads(scene, "n3", 1)  # older than what we can write: never below what we read ourselves
    assert common_schema(scene.snapshot()) == 2


def test_a_session_without_a_word_about_it_reads_the_first_schema() -> None:
    session = Session(server="n1", boot_id="b", incarnation="i", lease=1)
    data = session.model_dump(by_alias=True, exclude={"reads_schema"})
    assert Session.model_validate(data).reads_schema == 1


def test_a_record_of_a_newer_schema_is_refused_and_unknown_fields_are_not() -> None:
    with pytest.raises(ValidationError):
        Ownership.model_validate({"schema": SCHEMA + 1, "group": "web", "epoch": 1})
    found = Ownership.model_validate({"schema": SCHEMA, "group": "web", "epoch": 1, "new": True})
    assert found.schema_number == SCHEMA
