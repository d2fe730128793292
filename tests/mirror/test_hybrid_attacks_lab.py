"""A hybrid disk under several faults at once, beside a fifth server for the store's majority. After
each both roles are filled and both sides in sync, and no row that was told is missing."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.lab_under_test import clusterctl, eventually, in_process
from tests.mirror.hybrid_lab import MARKS, NODES, SPECS, WAIT_S, HybridLab, back, hybrid_lab, up

pytestmark = [pytest.mark.timeout(900), *MARKS]  # the first one counts

SITES = (("n1", "n2"), ("n3", "n4"))
LOOK_EVERY_S = 2.0


class Watch(threading.Thread):
    """Two engines on one disk, or two mounts, seen twice in a row."""

    def __init__(self, hybrid: HybridLab) -> None:
        super().__init__(daemon=True)
        self._hybrid, self._end = hybrid, threading.Event()
        self.bad: list[str] = []

    def run(self) -> None:
        before: set[str] = set()
        while not self._end.wait(LOOK_EVERY_S):
            now = self._look()
            self.bad += now & before
            before = now

    def _look(self) -> set[str]:
        engines = self._hybrid.engines()
        found = {f"two engines: {site}" for site in SITES if set(site) <= engines}
        mounted = [name for name in sorted(engines) if self._hybrid.has_it_mounted(name)]
        return found | ({f"two mounts: {mounted}"} if len(mounted) > 1 else set())

    def stop(self) -> None:
        self._end.set()
        self.join(60)


@pytest.fixture
def hybrid(tmp_path: Path) -> Iterator[HybridLab]:
    with hybrid_lab(tmp_path, servers=5) as lab:
        up(lab, tmp_path / "hybrid.yaml")
        watch = Watch(lab)
        watch.start()
        yield lab
        watch.stop()
        assert not watch.bad


def roles(hybrid: HybridLab) -> tuple[str, str]:
    return str(hybrid.group("db")["owner"]), str(hybrid.group("db-standby")["owner"])


def site_of(server: str) -> tuple[str, ...]:
    return next(site for site in SITES if server in site)


def other(server: str) -> str:
    return next(name for name in site_of(server) if name != server)


def is_whole(hybrid: HybridLab) -> bool:
    if any(hybrid.group(name).get("phase") != "online" for name in ("db", "db-standby")):
        return False
    code, said, _ = in_process("mirror", "status", "data", "-o", "json")
    return code == 0 and json.loads(said)["state"] == "in-sync"


def attacked(hybrid: HybridLab, attack: Callable[[str, str], None], what: str) -> None:
    """`attack` gets the two current servers."""
    owner, follows = roles(hybrid)
    counter = hybrid.count(owner)
    attack(owner, follows)
    hybrid.counted(counter)
    back(*NODES)
    eventually(lambda: is_whole(hybrid), f"both sides are in sync after: {what}", WAIT_S)
    hybrid.has_everything(roles(hybrid)[0])


def test_faults_that_meet_leave_one_writer_and_every_row(hybrid: HybridLab) -> None:
    lab = hybrid.lab.lab

    def both(owner: str, follows: str) -> None:
        lab("crash", owner)
        lab("crash", follows)

    attacked(hybrid, both, "a crash of both current servers")

    def moving(owner: str, follows: str) -> None:
        clusterctl("move", "group/db-standby", "--to", other(follows), "--no-wait")
        lab("power", owner, "off")

    attacked(hybrid, moving, "a move of the side that follows while the owner loses power")

    def between(owner: str, _: str) -> None:
        for one in SITES[0]:
            for two in SITES[1]:
                lab("cut", one, "--network", "all", "--from", two)
        before = int(hybrid.told.read_bytes())
        eventually(lambda: int(hybrid.told.read_bytes()) > before + 30, "it goes on alone", WAIT_S)
        assert roles(hybrid)[0] == owner
        lab("heal")

    attacked(hybrid, between, "a cut between the server groups")

    def whole_site(owner: str, _: str) -> None:
        for name in site_of(owner):
            lab("power", name, "off")

    attacked(hybrid, whole_site, "a power loss of the server group that serves")

    def following_site(_: str, follows: str) -> None:
        for name in site_of(follows):
            lab("crash", name)

    attacked(hybrid, following_site, "a crash of the server group that follows")


def test_an_asynchronous_one_keeps_a_prefix(tmp_path: Path) -> None:
    text = SPECS.replace("  size: 32MiB", "  mode: async\n  size: 32MiB")
    with hybrid_lab(tmp_path) as hybrid:
        up(hybrid, tmp_path / "hybrid.yaml", text)
        lab = hybrid.lab.lab
        # Within the server group the same disk: everything is there.
        counter = hybrid.count("n1")
        lab("power", "n1", "off")
        hybrid.counted(counter)
        hybrid.runs_on("db", "n2")
        hybrid.has_everything("n2")
        eventually(lambda: is_whole(hybrid), "both sides are in sync", WAIT_S)
        back("n1")
        # Between them: every row up to the last one that is there.
        clusterctl("drain", "server/n1")
        counter = hybrid.count("n2")
        lab("power", "n2", "off")
        hybrid.counted(counter)
        hybrid.runs_on("db", "n3", "n4")
        owner, _ = roles(hybrid)
        hybrid.acknowledged = hybrid.has_a_prefix(owner)
        # A planned move loses nothing.
        clusterctl("undrain", "server/n1")
        back("n2")
        eventually(lambda: is_whole(hybrid), "both sides are in sync", WAIT_S)
        owner, follows = roles(hybrid)
        counter = hybrid.count(owner)
        clusterctl("move", "group/db", "--to", follows)
        hybrid.counted(counter)
        hybrid.runs_on("db", follows)
        hybrid.has_everything(follows)
