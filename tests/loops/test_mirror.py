"""What the mirror holds of records that it cannot read."""

import json

from reconciler.adapters.clock import MonotonicClock
from reconciler.adapters.memory import MemoryState, MemoryStore
from reconciler.decide.records import SCHEMA, Ownership
from reconciler.loops.mirror import Mirror
from reconciler.ports.store import KeyValue
from tests.decide.build import KEYS
from tests.resources.places import Recorder

KEY = KEYS.group("web")


def mirror() -> Mirror:
    clock = MonotonicClock()
    store = MemoryStore(MemoryState(clock))
    return Mirror(KEYS, store, clock, Recorder(), lambda: None, lambda *_: None)


def item(value: bytes, revision: int) -> KeyValue:
    return KeyValue(KEY, value, 1, revision)


def newer(record: Ownership) -> bytes:
    return json.dumps(json.loads(record.to_bytes()) | {"schema": SCHEMA + 1}).encode()


MINE = Ownership(group="web", epoch=1, owner="n1")


def test_a_record_of_a_newer_schema_is_unknown_not_what_it_was() -> None:
    held = mirror()
    held.put(KEY, item(MINE.to_bytes(), 5), 5)
    held.put(KEY, item(newer(MINE), 6), 6)
    assert "web" not in held.maps["groups"]
    assert held.unreadable == {KEY: 6}
    held.put(KEY, item(MINE.to_bytes(), 5), 7)  # late: it was before
    assert "web" not in held.maps["groups"]
    held.put(KEY, item(MINE.to_bytes(), 8), 8)
    assert held.maps["groups"]["web"].mod_revision == 8
    assert not held.unreadable


def test_an_unreadable_record_that_is_deleted_is_absent() -> None:
    held = mirror()
    held.put(KEY, item(b"\xff", 5), 5)
    assert held.unreadable == {KEY: 5}
    held.put(KEY, None, 4)
    assert held.unreadable == {KEY: 5}
    held.put(KEY, None, 6)
    assert not held.unreadable


def test_keys_of_a_wrong_shape_are_no_records() -> None:
    held = mirror()
    for key in (f"{KEYS.run}groups", f"{KEYS.run}groups/a/b", f"{KEYS.run}coordinator/x"):
        held.put(key, KeyValue(key, MINE.to_bytes(), 1, 5), 5)
        held.put(key, None, 6)
    assert not any(held.maps.values())
