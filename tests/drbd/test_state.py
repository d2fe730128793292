"""What DRBD's programs print, of both versions, as they printed it."""

import pytest

from reconciler.drbd.state import (
    Unreadable,
    parse_events,
    parse_generations,
    parse_progress,
    parse_version,
)

# Of drbd-utils 9.22 on the kernel's own module, 8.4.11.
SOURCE_84 = """\
exists resource name:data role:Primary suspended:no write-ordering:flush
exists connection name:data peer-node-id:0 conn-name:peer connection:Connected role:Secondary \
congested:no
exists device name:data volume:0 minor:7788 disk:UpToDate size:65536 read:956 written:0 \
al-writes:0 bm-writes:0 upper-pending:0 lower-pending:0 al-suspended:no blocked:no
exists peer-device name:data peer-node-id:0 conn-name:peer volume:0 replication:SyncSource \
peer-disk:Inconsistent resync-suspended:no received:0 sent:956 out-of-sync:64580 pending:3 \
unacked:1
exists -
"""
FRESH_84 = """\
exists resource name:data role:Secondary suspended:no
exists connection name:data peer-node-id:0 conn-name:peer connection:Connecting role:Unknown
exists device name:data volume:0 minor:7788 disk:Inconsistent
exists peer-device name:data peer-node-id:0 conn-name:peer volume:0 replication:Off \
peer-disk:DUnknown resync-suspended:no
exists -
"""
# Of version 9, from its documentation.
BOTH_9 = """\
exists resource name:data role:Primary suspended:fencing may_promote:no promotion_score:10102
exists connection name:data peer-node-id:1 conn-name:n2 connection:Connected role:Secondary
exists device name:data volume:0 minor:7788 disk:UpToDate client:no quorum:yes size:65536
exists path name:data peer-node-id:1 conn-name:n2 local:ipv4:10.0.0.1:7788 \
peer:ipv4:10.0.0.2:7788 established:yes
exists peer-device name:data peer-node-id:1 conn-name:n2 volume:0 replication:Established \
peer-disk:UpToDate peer-client:no resync-suspended:no received:0 sent:0 out-of-sync:0 pending:0 \
unacked:0
exists -
"""


def test_a_source_of_a_copy() -> None:
    state = parse_events(SOURCE_84, "data")
    assert state is not None
    assert (state.serves, state.connected, state.both_current) == (True, True, False)
    assert (state.peer_disk, state.replication) == ("Inconsistent", "SyncSource")
    assert (state.size, state.out_of_sync, state.pending) == (64 << 20, 64580 * 1024, 4)
    assert not state.suspended


def test_a_side_that_was_just_made() -> None:
    state = parse_events(FRESH_84, "data")
    assert state is not None
    assert (state.serves, state.connected, state.disk) == (False, False, "Inconsistent")


def test_version_9_says_more() -> None:
    state = parse_events(BOTH_9, "data")
    assert state is not None
    assert state.both_current
    assert state.suspended == {"fencing"}


def test_several_reasons_to_stand_still() -> None:
    state = parse_events(SOURCE_84.replace("suspended:no", "suspended:user,fencing", 1), "data")
    assert state is not None
    assert state.suspended == {"user", "fencing"}


@pytest.mark.parametrize("text", ["exists -\n", "", SOURCE_84.replace("name:data", "name:other")])
def test_a_resource_that_is_not_there(text: str) -> None:
    assert parse_events(text, "data") is None


@pytest.mark.parametrize("change", [("role:Primary ", ""), ("size:65536", "size:much")])
def test_what_is_not_understood_is_said(change: tuple[str, str]) -> None:
    with pytest.raises(Unreadable):
        parse_events(SOURCE_84.replace(*change), "data")


def test_generations_leave_out_the_bit_of_the_role() -> None:
    text = "922E1AF7C6E30457:1112222233334444:1111222233334444:0000000000000000:1:1:1:1:0:1:0\n"
    ids = parse_generations(text)
    assert ids.current == "922E1AF7C6E30456"
    assert ids.base == "1112222233334444"
    assert ids.history == ("1111222233334444",)
    assert (ids.consistent, ids.was_primary, ids.never_written) == (True, True, False)


def test_generations_of_metadata_that_was_just_made() -> None:
    zero = ":0000000000000000" * 3
    ids = parse_generations(f"0000000000000004{zero}:0:0:0:0:0:0:0\n")
    assert ids.never_written
    assert not ids.base
    assert not ids.consistent


def test_no_generations() -> None:
    with pytest.raises(Unreadable, match="no resources defined"):
        parse_generations("no resources defined!")


def test_versions() -> None:
    assert parse_version("version: 8.4.11 (api:1/proto:86-101)\nsrcversion: F\n") == (8, 4)
    assert parse_version("version: 9.2.5 (api:2/proto:86-122)\n") == (9, 2)
    with pytest.raises(Unreadable):
        parse_version("")


# Of the kernel's own module, 8.4.11.
PROC_84 = """\
version: 8.4.11 (api:1/proto:86-101)
srcversion: 59F9B6D2F2E8B0C9F8A4A4C
 0: cs:SyncSource ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----
    ns:5120 nr:0 dw:0 dr:6140 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:27648
	[==>.................] sync'ed: 16.3% (27648/32768)K
	finish: 0:00:05 speed: 5,120 (5,120) K/sec

7788: cs:VerifyS ro:Primary/Secondary ds:UpToDate/UpToDate C r-----
    ns:0 nr:0 dw:0 dr:6140 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:0
	[==========>.........] verified: 56.3% (14324/32768)K
	finish: 0:00:05 speed: 5,120 (5,120) K/sec
7789: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----
    ns:0 nr:0 dw:0 dr:6140 al:8 bm:0 lo:0 pe:0 ua:0 ap:0 ep:1 wo:f oos:0
"""


@pytest.mark.parametrize(
    ("minor", "percent"), [(0, 16.3), (7788, 56.3), (7789, None), (88, None), (1, None)]
)
def test_how_far_a_comparison_is(minor: int, percent: float | None) -> None:
    assert parse_progress(PROC_84, minor) == percent


def test_version_9_says_it_with_the_rest() -> None:
    """As in the events that drbd-utils' own way to verify reads."""
    text = BOTH_9.replace("replication:Established", "replication:VerifyS")
    state = parse_events(text.replace("received:0", "done:12.50 received:0"), "data")
    assert state is not None
    assert state.done == 12.5
    assert state.both_current
    with pytest.raises(Unreadable):
        parse_events(text.replace("received:0", "done:much received:0"), "data")
