"""An operator and a mirrored disk on a real lab: every `clusterctl mirror` command, and the way out
of the loss of the only good side."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.lab_under_test import LabUnderTest, clusterctl, eventually, needs_lab
from tests.mirror.pair import usable
from tests.mirror.test_mirror_lab import SPECS, WAIT_S

pytestmark = [
    *needs_lab,
    pytest.mark.long,
    pytest.mark.skipif(usable() is not None, reason=usable() or ""),
]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabUnderTest]:
    shown = (("mirror", "status", "data"), ("status",), ("events",))
    with LabUnderTest.running(tmp_path / "lab", "--servers", "3", shown=shown) as found:
        yield found


def mirror() -> dict[str, Any]:
    done = clusterctl("mirror", "status", "data", "-o", "json", check=False)
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"state": "?"}
    return found


def is_in(state: str) -> None:
    eventually(lambda: mirror()["state"] == state, f"the mirror is {state}", WAIT_S)


def row(lab: LabUnderTest, node: str, name: str) -> None:
    code, _, errors = lab.run(node, "sh", "-c", f"echo {name} > /srv/data/{name} && sync")
    assert code == 0, errors


def rows(lab: LabUnderTest, node: str) -> set[str]:
    _, text, _ = lab.run(node, "ls", "/srv/data")
    return set(text.split()) - {"lost+found"}


def online(node: str) -> None:
    def there() -> bool:
        done = clusterctl("get", "group/db", "-o", "json", check=False)
        found = json.loads(done.stdout)[0]["status"] if done.returncode == 0 else {}
        return (found.get("phase"), found.get("owner")) == ("online", node)

    eventually(there, f"group db is online on {node}", WAIT_S)


# closer than the time-out that every lab test has
@pytest.mark.timeout(900)
def test_an_operator_sees_and_decides(lab: LabUnderTest, tmp_path: Path) -> None:
    specs = tmp_path / "mirror.yaml"
    specs.write_text(SPECS)
    clusterctl("apply", "-f", str(specs))
    online("n1")
    is_in("in-sync")
    row(lab, "n1", "first")

    assert "both sides are equal" in clusterctl("mirror", "verify", "data").stdout
    assert "n1 and n2 have all data" in clusterctl("mirror", "resync", "data", "--full").stdout
    assert "have all data" in clusterctl("mirror", "resync", "data", "--checksum").stdout
    assert "limited to 8MiB/s" in clusterctl("mirror", "limit", "data", "8MiB").stdout
    clusterctl("mirror", "limit", "data", "none")

    clusterctl("mirror", "isolate", "data", "--ttl", "10m", "--why", "backup")
    is_in("alone")
    row(lab, "n1", "second")
    refused = clusterctl("move", "db", "--to", "n2", check=False)
    assert refused.returncode == 5
    assert "only n1 has all acknowledged data" in refused.stderr
    clusterctl("mirror", "rejoin", "data")
    is_in("in-sync")

    clusterctl("mirror", "isolate", "data", "--ttl", "10m")
    is_in("alone")
    row(lab, "n1", "third")
    clusterctl("fence", "n1", "--yes-i-mean", "n1")
    told = "n2: data: only n1 has all acknowledged data"
    eventually(
        lambda: told.split(": ", 1)[1] in clusterctl("why", "group/db", check=False).stdout,
        "the reason is shown",
        WAIT_S,
    )
    blocked = json.loads(clusterctl("get", "group/db", "-o", "json").stdout)[0]["status"]
    assert blocked["phase"] == "blocked"
    assert "promote" not in clusterctl("events").stdout

    unsure = clusterctl("mirror", "promote", "data", "--server", "n2", check=False)
    assert unsure.returncode == 5
    words = ("mirror", "promote", "data", "--server", "n2", "--accept-data-loss")
    clusterctl(*words, "--why", "n1 burnt down")
    online("n2")
    assert rows(lab, "n2") == {"first", "second"}
    found = mirror()
    assert found["givenUp"] == ["n1"]
    assert found["forcedBy"]
    assert "mirror_forced" in clusterctl("events").stdout

    lab.lab("power", "n1", "on")
    is_in("split-brain")
    assert mirror()["next"] == "clusterctl mirror discard data --server n1"
    own = clusterctl("mirror", "discard", "data", "--server", "n2", check=False)
    assert own.returncode == 5
    clusterctl("mirror", "discard", "data", "--server", "n1", "--why", "n2 goes on")
    is_in("in-sync")
    assert "both sides are equal" in clusterctl("mirror", "verify", "data").stdout
    assert mirror()["forcedBy"] is None
    clusterctl("move", "db", "--to", "n1")
    online("n1")
    assert rows(lab, "n1") == {"first", "second"}
