"""What a disk is asked, and under which name."""

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reconciler.adapters.linux import disks
from reconciler.adapters.linux.disks import LinuxDisks
from reconciler.disks.reservation import key_of
from reconciler.ports.disks import Claim
from reconciler.ports.driver import Permit
from reconciler.ports.host import HostError


def authority(path: Path) -> Path:
    """The certificate of a cluster's authority; those of two clusters differ in their keys."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "demo")])
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now)
    path.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []

    async def ask(*words: str) -> dict[str, object]:
        found.append(words)
        return {"node": "/dev/x", "reason": "", "paths": 1, "running": 1}

    monkeypatch.setattr(disks, "_ask", ask)
    return found


async def test_two_clusters_with_the_same_resource_at_the_same_epoch_have_other_keys(
    tmp_path: Path, asked: list[tuple[str, ...]]
) -> None:
    """One disk that both see by mistake: with equal keys both of them could write to it."""
    one = LinuxDisks(tmp_path, authority(tmp_path / "one.crt"))
    two = LinuxDisks(tmp_path, authority(tmp_path / "two.crt"))
    for cluster in (one, two):
        permit = Permit(7, lambda: True)
        await cluster.reserve("/dev/x", "data", permit)
        await cluster.hold("/dev/x", "data", permit)
        await cluster.reserved("/dev/x", "data", 7)
        await cluster.release("/dev/x", "data", 7)
    assert [words[0] for words in asked] == ["take", "hold", "check", "drop"] * 2
    keys = [key_of(words[2], int(words[3])) for words in asked]
    assert len(set(keys[:4])) == len(set(keys[4:])) == 1
    assert keys[0] >> 48 != keys[4] >> 48


def test_claims_of_another_version_are_read_and_what_is_none_is_told(tmp_path: Path) -> None:
    found = LinuxDisks(tmp_path)
    found.claim("data", Claim(3, "/dev/x", "/srv", True, "/dev/sdb"))
    (path,) = (tmp_path / "disks").iterdir()
    path.write_text(path.read_text().replace("{", '{"later": 1, ', 1))
    assert found.claims() == {"data": Claim(3, "/dev/x", "/srv", True, "/dev/sdb")}
    for text in ('{"epoch": 3}', "cut of"):
        path.write_text(text)
        with pytest.raises(HostError, match=r"is no claim|cannot be read"):
            found.claims()


async def test_without_its_authority_nothing_is_reserved_under_another_name(
    tmp_path: Path, asked: list[tuple[str, ...]]
) -> None:
    (tmp_path / "ca.crt").write_text("cut off")
    for name in ("ca.crt", "missing.crt"):
        with pytest.raises(HostError, match="cannot be read"):
            await LinuxDisks(tmp_path, tmp_path / name).reserve(
                "/dev/x", "data", Permit(7, lambda: True)
            )
    assert asked == []
