"""Who may join a cluster, with what, and how often: enrolment against the in-memory store."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clusterctl.bootstrap import certificates, first_server, joining, layout, tokens
from clusterctl.bootstrap.admission import STORE_MEMBER_LIMIT, Enrolment
from clusterctl.bootstrap.facts import Facts
from clusterctl.bootstrap.layout import BootstrapError, Layout
from reconciler.adapters.clock import MonotonicClock
from reconciler.adapters.etcd.admin import EtcdMember, Permission, TooManyLearners
from reconciler.adapters.memory import MemoryState, MemoryStore
from reconciler.decide.keys import Keys

KEYS = Keys("demo")
FACTS = Facts(
    cluster="demo",
    networks={"private": "127.0.0.0/16", "public": "127.1.0.0/16"},
    etcd_heartbeat_ms=50,
    etcd_election_ms=500,
)


@dataclass
class FakeAdmin:
    """The store's administration, remembered."""

    known: list[EtcdMember] = field(
        default_factory=lambda: [
            EtcdMember(1, "n1", ("https://127.0.0.1:2380",), ("https://127.0.0.1:2379",), False)
        ]
    )
    roles: dict[str, Sequence[Permission]] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    learner_limit: int = 1

    async def members(self) -> tuple[EtcdMember, ...]:
        return tuple(self.known)

    async def add_learner(self, peer_url: str) -> EtcdMember:
        if sum(member.learner for member in self.known) >= self.learner_limit:
            raise TooManyLearners("too many learners")
        member = EtcdMember(len(self.known) + 1, "", (peer_url,), (), True)
        self.known.append(member)
        return member

    async def promote(self, member_id: int) -> None:
        self.known = [
            replace(each, learner=False) if each.member_id == member_id else each
            for each in self.known
        ]

    async def remove(self, member_id: int) -> None:
        self.known = [each for each in self.known if each.member_id != member_id]

    async def set_role(self, role: str, permissions: Sequence[Permission]) -> None:
        self.roles[role] = permissions

    async def set_user(self, user: str, role: str) -> None:
        self.users[user] = role

    def started(self, number: int) -> None:
        """The member that joined as n<number> runs and has its vote."""
        self.known[-1] = replace(
            self.known[-1],
            name=f"n{number}",
            client_urls=(f"https://127.0.0.{number}:2379",),
            learner=False,
        )


@dataclass
class Joiner:
    """A machine that wants to join; its keys stay the same when it tries again."""

    server: str
    addresses: tuple[str, ...]
    keys: dict[str, ec.EllipticCurvePrivateKey] = field(
        default_factory=lambda: {
            name: certificates.new_key() for name in ("server", "agent", "admin")
        }
    )
    has_store_data: bool = False

    def ask(self, token: tokens.JoinToken, **changes: Any) -> dict[str, Any]:
        request = {
            "ask": "enrol",
            "token_id": token.token_id,
            "secret": token.secret,
            "server": self.server,
            "addresses": list(self.addresses),
            "requests": {
                name: certificates.make_request(key).decode() for name, key in self.keys.items()
            },
            "has_store_data": self.has_store_data,
        }
        return {**request, **changes}


class Cluster:
    """A first server's enrolment."""

    def __init__(self) -> None:
        self.store = MemoryStore(MemoryState(MonotonicClock()))
        self.admin = FakeAdmin()
        self.authority = certificates.make_authority("demo")
        key = json.dumps({"keys": ["00" * 32]}).encode()
        self.enrolment = Enrolment(self.authority, FACTS, key, self.store, self.admin)

    async def token(self, **wishes: Any) -> tokens.JoinToken:
        options = {"lifetime_s": 600.0, **wishes}
        return await tokens.create(
            self.store,
            KEYS,
            endpoints=("https://127.0.0.1:7401",),
            ca_sha256=certificates.fingerprint(self.authority.pem),
            **options,
        )


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


N2 = Joiner("n2", ("127.0.0.2", "127.1.0.2"))
N3 = Joiner("n3", ("127.0.0.3",))


async def test_a_joiner_gets_certificates_for_itself_only(cluster: Cluster) -> None:
    answer = await cluster.enrolment.answer(N2.ask(await cluster.token()))
    agent = x509.load_pem_x509_certificate(answer["certificates"]["agent"].encode())
    assert _common_name(agent) == "agent-n2"
    server = x509.load_pem_x509_certificate(answer["certificates"]["server"].encode())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    assert addresses == {"127.0.0.2", "127.1.0.2", "127.0.0.1", "::1"}
    server.verify_directly_issued_by(cluster.authority.certificate)
    assert answer["initial_cluster"] == {"n1": "https://127.0.0.1:2380"}
    assert answer["endpoints"] == ["https://127.0.0.1:2379"]


async def test_an_agent_may_write_what_agents_write_and_no_specs(cluster: Cluster) -> None:
    await cluster.enrolment.answer(N2.ask(await cluster.token()))
    assert cluster.admin.users == {"agent-n2": "agent-n2"}
    written = {each.prefix for each in cluster.admin.roles["agent-n2"] if each.write}
    assert written == {KEYS.run, KEYS.events, f"{KEYS.status}n2/"}


async def test_a_token_lets_one_server_in_once_and_the_same_server_again(cluster: Cluster) -> None:
    token = await cluster.token()
    assert "error" not in await cluster.enrolment.answer(N2.ask(token))
    assert "was used by server n2" in (await cluster.enrolment.answer(N3.ask(token)))["error"]
    again = await cluster.enrolment.answer(N2.ask(token))
    assert "error" not in again
    assert len(cluster.admin.known) == 2


async def test_another_machine_can_not_take_a_name(cluster: Cluster) -> None:
    await cluster.enrolment.answer(N2.ask(await cluster.token()))
    thief = Joiner("n2", ("127.0.0.2",))
    refused = await cluster.enrolment.answer(thief.ask(await cluster.token()))
    assert "joined before with another key" in refused["error"]
    allowed = await cluster.enrolment.answer(thief.ask(await cluster.token(replace=True)))
    assert "error" not in allowed


async def test_another_machine_can_not_take_an_address(cluster: Cluster) -> None:
    await cluster.enrolment.answer(N2.ask(await cluster.token()))
    cluster.admin.started(2)
    thief = Joiner("n3", ("127.0.0.2",))
    refused = await cluster.enrolment.answer(thief.ask(await cluster.token()))
    assert "belongs to server n2" in refused["error"]


@pytest.mark.parametrize(
    ("wishes", "changes", "said"),
    [
        ({}, {"secret": "guessed"}, "the token is not valid"),
        ({}, {"token_id": "00"}, "not known here"),
        ({"lifetime_s": -1.0}, {}, "has expired"),
        ({"server": "n9"}, {}, "for server n9 only"),
        ({}, {"addresses": ["10.0.0.1"]}, "lies in none of the networks"),
        ({}, {"addresses": ["127.1.0.2"]}, "network private"),
        ({}, {"addresses": ["nonsense"]}, "not an IP address"),
        ({}, {"server": "../etc"}, "not valid"),
        ({}, {"extra": 1}, "not valid"),
        ({}, {"requests": {"agent": "x", "server": "y"}}, "signing request"),
        ({}, {"requests": {}}, "are needed"),
    ],
)
async def test_refusals(
    cluster: Cluster, wishes: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    token = await cluster.token(**{"lifetime_s": 600.0, **wishes})
    answer = await cluster.enrolment.answer(N2.ask(token, **changes))
    assert said in answer["error"]
    assert "certificates" not in answer
    assert cluster.admin.users == {}


async def test_the_store_holds_no_secret_of_a_token(cluster: Cluster) -> None:
    token = await cluster.token()
    listing = await cluster.store.list(KEYS.root)
    assert all(token.secret.encode() not in item.value for item in listing.items)


async def test_two_servers_join_one_after_the_other(cluster: Cluster) -> None:
    await cluster.enrolment.answer(N2.ask(await cluster.token()))
    waiting = await cluster.enrolment.answer(N3.ask(token := await cluster.token()))
    assert waiting["retry"]
    cluster.admin.started(2)
    joined = await cluster.enrolment.answer(N3.ask(token))
    assert set(joined["initial_cluster"]) == {"n1", "n2"}


async def test_a_server_beyond_the_fifth_holds_no_store_member(cluster: Cluster) -> None:
    for number in range(2, STORE_MEMBER_LIMIT + 1):
        joiner = Joiner(f"n{number}", (f"127.0.0.{number}",))
        await cluster.enrolment.answer(joiner.ask(await cluster.token()))
        cluster.admin.started(number)
    sixth = Joiner("n6", ("127.0.0.6",))
    answer = await cluster.enrolment.answer(sixth.ask(await cluster.token()))
    assert answer["initial_cluster"] is None
    assert len(answer["endpoints"]) == STORE_MEMBER_LIMIT


async def test_a_member_that_lost_its_data_is_replaced_only_on_purpose(cluster: Cluster) -> None:
    await cluster.enrolment.answer(N2.ask(await cluster.token()))
    cluster.admin.started(2)
    refused = await cluster.enrolment.answer(N2.ask(await cluster.token()))
    assert "lost the member's data" in refused["error"]
    kept = replace(N2, has_store_data=True)
    assert "error" not in await cluster.enrolment.answer(kept.ask(await cluster.token()))
    await cluster.enrolment.answer(N2.ask(await cluster.token(replace=True)))
    assert [member.name for member in cluster.admin.known] == ["n1", ""]


async def test_a_token_without_admin_gives_no_admin_certificate(cluster: Cluster) -> None:
    answer = await cluster.enrolment.answer(N2.ask(await cluster.token(admin=False)))
    assert set(answer["certificates"]) == {"server", "agent"}


@pytest.mark.parametrize("text", ["", "hello", "cctl1.", "cctl1.####", "cctl1.e30="])
def test_a_damaged_token_is_refused_with_the_next_command(text: str) -> None:
    with pytest.raises(BootstrapError, match="clusterctl cluster token"):
        tokens.decode(text)


async def test_a_token_survives_line_breaks_of_a_mail(cluster: Cluster) -> None:
    token = await cluster.token()
    text = token.encode()
    assert tokens.decode(f" {text[:40]}\n {text[40:]}\n") == token


async def test_a_false_cluster_is_told_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    false = certificates.make_authority("demo")
    asked: list[str] = []

    async def in_between(_: object, __: object, request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["ask"])
        return {"ca": false.pem.decode()}

    monkeypatch.setattr(joining, "_ask_any", in_between)
    with pytest.raises(BootstrapError, match="not the cluster that made the token"):
        await joining.join(Layout(tmp_path), await cluster.token(), "n2", ["127.0.0.2"])
    assert asked == ["ca"]


def _write_first(root: Path) -> None:
    first_server.write_first_server(Layout(root), FACTS, "n1", ["127.0.0.1"])


@pytest.mark.parametrize("survived", range(12))
def test_init_interrupted_after_any_write_can_be_repeated(
    survived: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0

    def failing(path: Path, data: bytes | str) -> None:
        nonlocal count
        if count == survived:
            raise OSError("power lost")
        count += 1
        layout.write_file(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(first_server, "write_file", failing)
        patched.setattr(certificates, "write_file", failing)
        with pytest.raises(OSError, match="power lost"):
            _write_first(tmp_path)
    _write_first(tmp_path)
    made = Layout(tmp_path)
    authority = certificates.stored_authority(made)
    for name in ("server", "agent", "admin"):
        certificate = x509.load_pem_x509_certificate(made.certificate(name).read_bytes())
        certificate.verify_directly_issued_by(authority.certificate)
        key = certificates.key_from_pem(made.key(name).read_bytes(), name)
        assert certificate.public_key() == key.public_key()
    assert not list(made.configuration.rglob(".*"))
    assert all(path.stat().st_mode & 0o077 == 0 for path in made.configuration.rglob("*.*"))


def test_init_keeps_keys_when_it_is_repeated(tmp_path: Path) -> None:
    _write_first(tmp_path)
    made = Layout(tmp_path)
    before = {path: path.read_bytes() for path in made.pki.glob("*.key")}
    key = made.cluster_key.read_bytes()
    _write_first(tmp_path)
    assert {path: path.read_bytes() for path in made.pki.glob("*.key")} == before
    assert made.cluster_key.read_bytes() == key


def test_init_refuses_another_cluster_on_the_same_server(tmp_path: Path) -> None:
    _write_first(tmp_path)
    other = FACTS.model_copy(update={"cluster": "other"})
    with pytest.raises(BootstrapError, match="belongs to cluster demo already"):
        first_server.write_first_server(Layout(tmp_path), other, "n1", ["127.0.0.1"])


def test_init_refuses_an_address_that_is_not_here(tmp_path: Path) -> None:
    facts = FACTS.model_copy(update={"networks": {"private": "192.0.2.0/24"}})
    with pytest.raises(BootstrapError, match="this machine has no address"):
        first_server.write_first_server(Layout(tmp_path), facts, "n1", ["192.0.2.77"])


def _common_name(certificate: x509.Certificate) -> object:
    return certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
