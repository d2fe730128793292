"""Certificates before and after their end: what is said, who gets new ones, and for which keys."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from clusterctl.bootstrap import certificates, renewal
from clusterctl.bootstrap.layout import BootstrapError, Layout, write_file
from tests.integration.test_bootstrap_enrolment import Cluster, Joiner

PAST = datetime.now(UTC) - timedelta(days=3)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    made.prepare()
    return made


def expire(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on certificates are signed that ended three days ago."""
    monkeypatch.setattr(certificates, "CERTIFICATE_DAYS", -3)
    monkeypatch.setattr(certificates, "BACKDATED", timedelta(days=10))


async def joined(layout: Layout, cluster: Cluster) -> None:
    """n2 as it is after its join."""
    keys = {name: certificates.stored_key(layout, name) for name in ("server", "agent", "admin")}
    joiner = Joiner("n2", ("127.0.0.2", "127.1.0.2"), keys)
    answer = await cluster.enrolment.answer(joiner.ask(await cluster.token()))
    write_file(layout.certificate("ca"), cluster.authority.pem)
    for name, text in answer["certificates"].items():
        write_file(layout.certificate(name), text)


def ask(layout: Layout, **changes: Any) -> dict[str, Any]:
    more = {
        "requests": renewal.requests(layout),
        "admin": layout.certificate("admin").read_text(),
        **changes,
    }
    return renewal.make_ask(layout, "n2", "renew", **more)


def test_states(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = certificates.make_authority("demo")
    key = certificates.new_key().public_key()
    write_file(layout.certificate("server"), certificates.sign_client(authority, key, "ok"))
    monkeypatch.setattr(certificates, "CERTIFICATE_DAYS", 10)
    write_file(layout.certificate("agent"), certificates.sign_client(authority, key, "soon"))
    expire(monkeypatch)
    write_file(layout.certificate("admin"), certificates.sign_client(authority, key, "over"))
    now = datetime.now(UTC)
    found = {v.subject: v.word(now) for v in renewal.inspect(layout)}
    assert found == {"ok": "ok", "soon": "WARN", "over": "expired"}
    assert renewal.inspect(layout)[0].word(now - timedelta(days=30)) == "not valid yet"
    layout.certificate("agent").write_text("nonsense")
    with pytest.raises(BootstrapError, match="is no certificate"):
        renewal.inspect(layout)


def test_the_first_server_renews_for_itself_after_the_end(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = certificates.make_authority("demo")
    write_file(layout.key("ca"), certificates.key_to_pem(authority.key))
    write_file(layout.certificate("ca"), authority.pem)
    key = certificates.stored_key(layout, "server").public_key()
    with monkeypatch.context() as patch:
        expire(patch)
        write_file(
            layout.certificate("server"),
            certificates.sign_server(authority, key, "n1", ["10.0.0.1", "10.1.0.1"]),
        )
    assert renewal.renew_here(layout, "n1") == ["server", "agent"]  # it has no admin key
    parsed = x509.load_pem_x509_certificate(layout.certificate("server").read_bytes())
    assert parsed.not_valid_after_utc > datetime.now(UTC) + timedelta(days=1000)
    assert renewal.addresses_of(layout) == ["10.0.0.1", "10.1.0.1"]
    assert certificates.public_key_digest(key) == renewal._digest(parsed)


async def test_another_server_gets_new_ones_for_its_own_keys_after_the_end(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster()
    with monkeypatch.context() as patch:
        expire(patch)
        await joined(layout, cluster)
    now = datetime.now(UTC)
    assert {v.word(now) for v in renewal.inspect(layout)} == {"ok", "expired"}  # the CA holds
    answer = await cluster.enrolment.answer(ask(layout))
    assert sorted(renewal.write_renewed(layout, answer)) == ["admin", "agent", "server"]
    assert {v.word(now) for v in renewal.inspect(layout)} == {"ok"}
    assert renewal.addresses_of(layout) == ["127.0.0.2", "127.1.0.2"]


async def test_who_gets_none(layout: Layout, tmp_path: Path) -> None:
    cluster = Cluster()
    await joined(layout, cluster)
    thief = Layout(tmp_path / "thief")
    thief.prepare()
    for name in ("server", "agent", "admin"):
        certificates.stored_key(thief, name)
        write_file(thief.certificate(name), layout.certificate(name).read_bytes())
    refused = await cluster.enrolment.answer(ask(thief))
    assert "no server n2 joined with this key" in refused["error"]
    forged = {**ask(layout), "server": "n1"}
    assert "signature does not hold" in (await cluster.enrolment.answer(forged))["error"]
    for shown, said in (
        (None, "no administrator's certificate"),
        (layout.certificate("agent").read_text(), "is no administrator's"),
        (thief.certificate("admin").read_text().replace("A", "B", 3), "administrator's"),
    ):
        answer = await cluster.enrolment.answer(ask(layout, admin=shown))
        assert said in answer["error"]


async def test_a_request_of_long_ago_is_refused(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster()
    await joined(layout, cluster)
    late = ask(layout)
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + 3600)
    assert "clocks of the two servers differ" in (await cluster.enrolment.answer(late))["error"]


async def test_only_what_the_own_ca_signed_for_the_own_keys_is_written(layout: Layout) -> None:
    cluster = Cluster()
    await joined(layout, cluster)
    before = layout.certificate("agent").read_bytes()
    strange = certificates.make_authority("demo")
    mine = certificates.stored_key(layout, "agent").public_key()
    other = certificates.new_key().public_key()
    for pem, said in (
        (certificates.sign_client(strange, mine, "agent-n2"), "not signed by this cluster's CA"),
        (certificates.sign_client(cluster.authority, other, "agent-n2"), "another key"),
    ):
        with pytest.raises(BootstrapError, match=said):
            renewal.write_renewed(layout, {"certificates": {"agent": pem.decode()}})
    with pytest.raises(BootstrapError, match="unknown certificate"):
        renewal.write_renewed(layout, {"certificates": {"../x": "y"}})
    assert layout.certificate("agent").read_bytes() == before


async def test_the_cluster_key_goes_to_servers_that_joined_only(layout: Layout) -> None:
    cluster = Cluster()
    await joined(layout, cluster)
    request = renewal.requests(layout)["agent"]
    ask = renewal.make_ask(layout, "n2", "cluster-key", request=request)
    assert json.loads((await cluster.enrolment.answer(ask))["cluster_key"])["keys"]
    stranger = certificates.new_key()
    foreign = renewal.sign_request(
        stranger,
        {
            "ask": "cluster-key",
            "server": "n2",
            "request": certificates.make_request(stranger).decode(),
        },
    )
    for wrong in (foreign, {**ask, "server": "n9"}, {**ask, "request": foreign["request"]}):
        answer = await cluster.enrolment.answer(wrong)
        assert "cluster_key" not in answer
        assert "error" in answer
