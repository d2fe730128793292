"""What a `fencing.levels` entry of type ipmi may say, and what it must never show."""

import pytest
from pydantic import ValidationError

from reconciler.adapters.clock import MonotonicClock
from reconciler.adapters.power import RegisteredPower
from reconciler.fences._guid import same_guid
from reconciler.fences._secret import PasswordSource
from reconciler.fences.ipmi import Ipmi
from reconciler.plugin import Registry
from reconciler.ports.power import FenceError

LEVEL = {
    "type": "ipmi",
    "address": "10.77.3.11",
    "user": "admin",
    "passwordFrom": {"file": "/etc/clusterctl/secrets/bmc"},
}


def problem(**changes: object) -> str:
    with pytest.raises(ValidationError) as raised:
        Ipmi.model_validate({**LEVEL, **changes})
    return str(raised.value)


def test_a_plain_password_is_refused_with_the_way_out_and_not_repeated() -> None:
    text = problem(password="hunter2")
    assert "passwordFrom: {file: PATH}" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "source", [{}, {"file": "/a", "env": "B"}, {"file": "relative/path"}, {"vault": "x"}]
)
def test_the_password_comes_from_exactly_one_place(source: dict[str, str]) -> None:
    assert problem(passwordFrom=source)


def test_malformed_settings_are_refused() -> None:
    assert "IPv4 only" in problem(address="fd00::1")
    assert "not a GUID" in problem(guid="1234")
    assert problem(cipherSuite=0)
    assert problem(port=0)
    assert problem(timeout="10ms")


def test_a_variable_without_a_password_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("BMC_PASSWORD", raising=False)
    with pytest.raises(FenceError, match="BMC_PASSWORD"):
        PasswordSource(env="BMC_PASSWORD").read()
    monkeypatch.setenv("BMC_PASSWORD", "secret")
    assert PasswordSource(env="BMC_PASSWORD").read() == "secret"


def test_a_guid_is_the_same_in_every_order_that_tools_print() -> None:
    sent = "a123456789abcdefa123456789abcde1"
    assert same_guid("A1234567-89AB-CDEF-A123-456789ABCDE1", sent)
    assert same_guid("e1cdab89-6745-23a1-efcd-ab89674523a1", sent)  # ipmitool mc guid
    assert same_guid("67452301-ab89-efcd-a123-456789abcde1".replace("67452301", "674523a1"), sent)
    assert not same_guid("b123456789abcdefa123456789abcde1", sent)


def test_equal_levels_share_one_device_so_that_a_prepared_session_is_found() -> None:
    power = RegisteredPower(Registry(fences=[Ipmi]), MonotonicClock())
    assert power.device(LEVEL) is power.device(dict(reversed(LEVEL.items())))
    assert power.device(LEVEL) is not power.device({**LEVEL, "port": 624})


def test_an_unknown_type_or_field_is_a_fence_error() -> None:
    power = RegisteredPower(Registry(fences=[Ipmi]), MonotonicClock())
    with pytest.raises(FenceError, match="no fence type 'redfish'"):
        power.device({"type": "redfish"})
    with pytest.raises(FenceError, match="address"):
        power.device({**LEVEL, "address": "nowhere"})
