"""The file for DRBD never lets it lose data by itself."""

import re
from dataclasses import replace

import pytest

from reconciler.drbd.resource_file import Unfit, Wanted, metadata_bytes, render

WANTED = Wanted(
    name="data",
    local="n1",
    peer="n2",
    first=True,
    disk="/dev/loop3",
    metadata="/dev/loop4",
    size=64 << 20,
    port=7788,
    address="10.0.0.1",
    peer_address="10.0.0.2",
    secret="0123456789abcdef",
    alone="/run/clusterctl/mirrors/data/alone",
    split="/run/clusterctl/mirrors/data/split",
)


def _section(text: str, name: str) -> str:
    found = re.search(rf"\n  {name} {{\n(.*?)\n  }}", text, re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize(("version", "section"), [((8, 4), "disk"), ((9, 2), "net")])
def test_writes_freeze_when_the_peer_is_lost(version: tuple[int, int], section: str) -> None:
    text = render(replace(WANTED, version=version))
    assert "fencing resource-and-stonith;" in _section(text, section)
    assert text.count("fencing ") == 1
    handlers = _section(text, "handlers")
    assert f'fence-peer "test -e {WANTED.alone} && exit 4; exit 1"' in handlers
    assert ("node-id 0;" in text) == (version[0] == 9)


def test_a_split_brain_is_never_solved_by_itself() -> None:
    net = _section(render(WANTED), "net")
    assert re.findall(r"after-sb-\dpri (\w+)", net) == ["disconnect"] * 3
    assert "allow-two-primaries no;" in net


def test_modes_time_outs_and_limits() -> None:
    text = render(replace(WANTED, asynchronous=True, timeout_s=60.0, limit=50 << 20))
    net = _section(text, "net")
    assert "protocol A;" in net
    assert "    timeout 600;" in net
    assert "ping-int 61;" in net
    assert "resync-rate 51200K;" in _section(text, "disk")
    assert "protocol C;" in render(WANTED)
    assert "timeout 20;" in _section(render(WANTED), "net")


def test_no_side_is_promoted_by_being_opened() -> None:
    """Version 8.4 never does that, and does not know the word."""
    assert "auto-promote no;" in _section(render(replace(WANTED, version=(9, 2))), "options")
    assert "auto-promote" not in render(WANTED)


def test_comparisons_are_by_digests() -> None:
    assert "verify-alg sha256;" in _section(render(WANTED), "net")


def test_both_sides_agree_on_their_numbers() -> None:
    mine = render(replace(WANTED, version=(9, 0)))
    theirs = render(replace(WANTED, version=(9, 0), local="n2", peer="n1", first=False))
    assert mine.index("node-id 0") < mine.index("node-id 1")
    assert theirs.index("node-id 1") < theirs.index("node-id 0")


def test_addresses_of_version_6() -> None:
    assert "address ipv6 [fd00::1]:7788;" in render(replace(WANTED, address="fd00::1"))


@pytest.mark.parametrize("path", ['/dev/x"; }', "/dev/a\nb", "/dev/{x"])
def test_no_name_becomes_a_setting(path: str) -> None:
    with pytest.raises(Unfit):
        render(replace(WANTED, disk=path))


def test_room_for_the_bitmap() -> None:
    for size in (16 << 20, 1 << 30, 1 << 42):
        assert metadata_bytes(size) >= size // 4096 // 8 + 36 * 1024
