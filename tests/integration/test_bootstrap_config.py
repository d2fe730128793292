"""agent.yaml: every mistake is named with its place, before an agent starts."""

from pathlib import Path

import pytest

from reconciler.config import AgentConfig, dump_config, load_config
from specs.errors import SpecErrors

GOOD = """\
apiVersion: clusterctl/v1
kind: AgentConfig
cluster: demo
server: n1
endpoints: [https://10.77.1.11:2379]
"""


def _problems(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpecErrors) as caught:
        load_config(path)
    return str(caught.value)


def test_what_init_writes_is_what_the_agent_reads(tmp_path: Path) -> None:
    config = AgentConfig(cluster="demo", server="n1", endpoints=("https://[fd00::1]:2379",))
    path = tmp_path / "agent.yaml"
    path.write_text(dump_config(config))
    assert load_config(path) == config


def test_defaults(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(GOOD)
    config = load_config(path)
    assert config.heartbeat_port == 7400
    assert config.certificate_file == Path("/etc/clusterctl/pki/agent.crt")


def test_all_mistakes_at_once_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    text = GOOD.replace("server:", "servr:").replace("2379]", "2379, nonsense]")
    found = _problems(path, text + "heartbeatPort: 99999\n")
    assert f"{path}:4:1  servr: unknown key, did you mean 'server'? [E0302]" in found
    assert f"{path}:5:38  endpoints.1" in found
    assert f"{path}:6:1  heartbeatPort" in found
    assert "server: is missing" in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\xff\xfe", "not UTF-8"),
        ("a: [", "not YAML"),
        ("- a\n", "must be a mapping"),
        ("", "must be a mapping"),
        ("x: " + "y" * 70_000, "larger than"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert said in _problems(tmp_path / "agent.yaml", text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecErrors, match=r"agent.yaml  can not be read"):
        load_config(tmp_path / "agent.yaml")
