"""The exchange of the heartbeats' key: no step before every server has told that it took the
last, so any two servers share a key at each moment."""

import json
from pathlib import Path

import pytest

from clusterctl.bootstrap import certificates, cluster_key
from clusterctl.bootstrap.layout import BootstrapError, Layout, write_file

OLD = "11" * 32


@pytest.fixture
def first(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.prepare()
    write_file(layout.key("ca"), certificates.key_to_pem(certificates.new_key()))
    cluster_key.write_keys(layout, [OLD])
    return layout


def told(*servers: list[str]) -> dict[str, list[str]]:
    return {f"n{number}": cluster_key.names(keys) for number, keys in enumerate(servers, 1)}


def test_the_whole_exchange(first: Layout) -> None:
    done, others = cluster_key.step(first, told([OLD], [OLD], [OLD]))
    assert "beside the old one" in done
    assert others == ["n1", "n2", "n3"]
    new, old = cluster_key.read_keys(first)
    assert old == OLD
    assert new != OLD
    for late in ([[new, old], [OLD], [new, old]], [[OLD], [new, old], [new, old]]):
        with pytest.raises(BootstrapError, match="does not run with the present keys"):
            cluster_key.step(first, told(*late))
        assert cluster_key.read_keys(first) == [new, OLD]
    cluster_key.step(first, told(*[[new, old]] * 3))
    assert cluster_key.read_keys(first) == [new]
    with pytest.raises(BootstrapError, match="n2, n3"):  # the next exchange waits for the last
        cluster_key.step(first, told([new], [new, old], [new, old]))


def test_a_server_that_says_nothing_holds_the_exchange(first: Layout) -> None:
    silent = {**told([OLD], [OLD]), "n3": []}
    with pytest.raises(BootstrapError, match="n3 does not run"):
        cluster_key.step(first, silent)
    assert cluster_key.read_keys(first) == [OLD]


def test_only_where_the_ca_is(first: Layout) -> None:
    first.key("ca").unlink()
    with pytest.raises(BootstrapError, match="first server"):
        cluster_key.step(first, told([OLD]))


@pytest.mark.parametrize("text", ["", "{}", '{"keys": ["zz"]}', '{"keys": 7}'])
def test_a_damaged_file_is_told(first: Layout, text: str) -> None:
    first.cluster_key.write_text(text)
    with pytest.raises(BootstrapError, match="is damaged"):
        cluster_key.read_keys(first)
    first.cluster_key.write_text(json.dumps({"keys": [OLD] * 3}))
    with pytest.raises(BootstrapError, match="3 keys"):
        cluster_key.read_keys(first)


def test_names_give_nothing_of_the_keys_away() -> None:
    (name,) = cluster_key.names([OLD])
    assert name not in OLD
    assert len(name) == 16
