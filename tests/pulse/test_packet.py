"""A heartbeat counts only if one of our keys signed exactly these bytes."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.pulse.packet import Heartbeat, KeyRing, Refused

OLD, NEW, FOREIGN = b"o" * 32, b"n" * 32, b"f" * 32
BEAT = Heartbeat(
    cluster="demo",
    sender="n1",
    to="n2",
    path="private",
    boot_id="b1",
    start="s1",
    sequence=7,
    echo="s2",
    silent=frozenset({"n3"}),
    suspect=frozenset({"n3", "n4"}),
    store="no-quorum",
    agent_alive=True,
)


def reason(ring: KeyRing, datagram: bytes) -> str:
    with pytest.raises(Refused) as refused:
        ring.open(datagram)
    return refused.value.reason


def test_a_heartbeat_arrives_as_it_was_sent() -> None:
    ring = KeyRing([NEW])
    assert ring.open(ring.seal(BEAT)) == BEAT


def test_another_clusters_key_is_refused() -> None:
    assert reason(KeyRing([NEW]), KeyRing([FOREIGN]).seal(BEAT)) == "unknown-key"


def test_an_unreadable_schema_is_refused() -> None:
    datagram = bytearray(KeyRing([NEW]).seal(BEAT))
    datagram[4] = 99
    assert reason(KeyRing([NEW]), bytes(datagram)) == "schema"


def test_while_keys_rotate_everybody_understands_everybody() -> None:
    """Steps of a rotation: [old] -> [new, old] -> [new]; neighbours may be one step apart."""
    for one, other in itertools.pairwise([[OLD], [NEW, OLD], [NEW]]):
        before, after = KeyRing(one), KeyRing(other)
        assert after.open(before.seal(BEAT, theirs=after.ids)) == BEAT
        assert before.open(after.seal(BEAT, theirs=before.ids)) == BEAT


def test_the_keys_take_turns_until_a_peers_keys_are_known() -> None:
    ring, beats = KeyRing([NEW, OLD]), [dataclasses.replace(BEAT, sequence=n) for n in (1, 2)]
    for only in (OLD, NEW):
        results = []
        for beat in beats:
            try:
                results.append(KeyRing([only]).open(ring.seal(beat)) == beat)
            except Refused:
                results.append(False)
        assert sorted(results) == [False, True]


def test_a_dropped_key_is_not_accepted_any_more() -> None:
    assert reason(KeyRing([NEW]), KeyRing([OLD]).seal(BEAT)) == "unknown-key"


def test_a_foreign_store_state_is_refused() -> None:
    ring = KeyRing([NEW])
    assert reason(ring, ring.seal(dataclasses.replace(BEAT, store="fine"))) == "malformed"


def test_keys_are_never_shown() -> None:
    assert OLD.hex() not in repr(KeyRing([OLD]))
    assert "ooo" not in repr(KeyRing([OLD]))


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        KeyRing([b"short"])


@given(position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_no_flipped_bit_is_accepted(position: int, bit: int) -> None:
    ring = KeyRing([NEW])
    datagram = bytearray(ring.seal(BEAT))
    datagram[position % len(datagram)] ^= 1 << bit
    with pytest.raises(Refused):
        ring.open(bytes(datagram))


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(Refused):
        KeyRing([NEW]).open(noise)
