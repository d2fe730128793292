"""`clusterctl lab` where no lab can be: each time one sentence and the next command."""

import os
from pathlib import Path

import pytest

from clusterctl.app import run
from clusterctl.lab import plan, up


def test_without_root_it_says_so_and_exits_8(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run(["lab", "up"]) == 8
    assert "needs root" in (error := capsys.readouterr().err)
    assert "next: sudo " in error


def test_without_a_lab_it_names_the_command_that_makes_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(up, "INDEX_DIRECTORY", tmp_path)
    monkeypatch.delenv("CLUSTERCTL_LAB", raising=False)
    assert run(["lab", "status"]) == 6
    assert "next: clusterctl lab up" in capsys.readouterr().err


def test_a_directory_without_a_lab(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert run(["lab", "crash", "n1", "--dir", str(tmp_path)]) == 6
    assert f"there is no lab in {tmp_path}" in capsys.readouterr().err


def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up.shutil, "which", lambda name, path: None if name == "nft" else name)
    with pytest.raises(plan.LabError, match=r"nft not found: apt-get install .* nftables"):
        up.require_programs(())


@pytest.mark.parametrize("place", ["/etc/lab", "/var/tmp/lab", "/run/lab"])
def test_a_place_that_every_server_has_for_itself_is_refused(place: str) -> None:
    with pytest.raises(plan.LabError, match="can not lie in"):
        up.make_plan(Path(place), "demo", 3)


def test_the_client_is_not_a_server() -> None:
    nodes = plan.make_nodes(0, 2)
    assert [node.name for node in nodes] == ["n1", "n2", "client"]
    lab = plan.Plan(
        directory=Path("/d"),
        name="demo",
        index=0,
        python="python",
        source=Path("/s"),
        cgroup_root=Path("/c"),
        programs=(),
        visible=(),
        nodes=nodes,
    )
    with pytest.raises(plan.LabError, match="not a server"):
        lab.server("client")
    with pytest.raises(plan.LabError, match="it has n1, n2, client"):
        lab.node("n7")


def test_labs_side_by_side_share_no_address_that_this_machine_sees() -> None:
    seen: set[str] = set()
    for index in range(plan.INDEX_LIMIT):
        for node in plan.make_nodes(index, plan.SERVER_LIMIT):
            own = [node.addresses[each] for each in plan.HOST_NETWORKS if each in node.addresses]
            own += [node.bmc_address] if node.bmc_address else []
            own += [plan.mac(index, each, node.number, 0) for each in node.addresses]
            assert seen.isdisjoint(own)
            seen.update(own)


def test_names_of_interfaces_fit_into_the_kernel() -> None:
    nodes = plan.make_nodes(0, plan.SERVER_LIMIT)
    names = [plan.port_name(node, network) for node in nodes for network in plan.NETWORKS]
    names += [plan.host_interface("01234567", network) for network in plan.NETWORKS]
    assert max(len(name) for name in names) < 16
    assert len(set(names)) == len(names)
