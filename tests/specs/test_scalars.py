"""Units: text that means something else is refused, and what is printed reads back as the same."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.cluster import TimingSpec
from specs.document import Model
from specs.scalars import (
    ByteSize,
    format_duration,
    format_size,
    parse_address,
    parse_cidr,
    parse_duration,
    parse_interface_address,
    parse_name,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("50ms", 0.05), ("30s", 30), ("1.5s", 1.5), ("1h30m", 5400), ("0s", 0), ("2d", 172800)],
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1 s", "1e3s", "1x", "٣s", "9" * 30 + "s"])
def test_a_duration_without_a_clear_meaning_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_a_duration_of_ages_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than ten years"):
        parse_duration("9999999d")


@given(st.floats(min_value=0, max_value=3e8, allow_nan=False))
def test_durations_read_back_as_printed(seconds: float) -> None:
    printed = format_duration(seconds)
    if len(printed) < 20:
        assert parse_duration(printed) == seconds


@given(st.integers(min_value=0, max_value=10**12))
def test_durations_of_milliseconds_read_back_as_printed(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert seconds > 3e8 or parse_duration(format_duration(seconds)) == seconds


@given(st.integers(min_value=0, max_value=2**60 - 1))
def test_sizes_read_back_as_printed(size: int) -> None:
    printed = format_size(size)
    assert len(printed) > 18 or parse_size(printed) == size


@pytest.mark.parametrize(("text", "size"), [("4MiB", 4194304), ("1GB", 10**9), ("0B", 0)])
def test_a_size_is_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "4", "4M", "4mib", "-1B", "1.5MiB"])
def test_a_size_without_a_clear_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@given(st.ip_addresses())
def test_addresses_have_one_form(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert parse_address(address.exploded) == parse_address(str(address)) == str(address)


@given(st.ip_addresses(), st.integers(min_value=0, max_value=32))
def test_networks_have_one_form(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, prefix: int
) -> None:
    network = ipaddress.ip_network(f"{address}/{prefix}", strict=False)
    assert parse_cidr(str(network)) == str(network)
    assert parse_interface_address(f"{address}/{prefix}") == f"{address}/{prefix}"


def test_an_address_in_place_of_a_network_names_the_network() -> None:
    with pytest.raises(ValueError, match=r"did you mean '10\.77\.1\.0/24'"):
        parse_cidr("10.77.1.7/24")


@pytest.mark.parametrize("text", ["10.77.1.0", "10.77.1.0/33", "net", "", "/24"])
def test_a_network_needs_address_and_prefix(text: str) -> None:
    with pytest.raises(ValueError, match=r"10\.77\.1\.0"):
        parse_cidr(text)


@pytest.mark.parametrize("text", ["10.77.1.256", "1", "", "fe80::1%eth0", "10.77.1.1/24", "n1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|interface"):
        parse_address(text)


@given(st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z"))
def test_names_are_dns_labels(name: str) -> None:
    assert parse_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a.b", "a/b", "a\n", "ä", "a" * 64])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        parse_name(name)


def test_numbers_without_unit_are_for_code_only() -> None:
    assert TimingSpec(dead_man=2.5).dead_man == 2.5
    assert TimingSpec(dead_man=2.5).to_json()["deadMan"] == "2500ms"
    with pytest.raises(ValueError, match="write it with a unit"):
        TimingSpec.model_validate_json('{"deadMan": 2.5}', strict=True)


class Disk(Model):
    size: ByteSize


def test_sizes_travel_with_their_unit() -> None:
    disk = Disk.model_validate_json('{"size": "4MiB"}', strict=True)
    assert (disk.size, disk.to_json()) == (4194304, {"size": "4MiB"})
    with pytest.raises(ValueError, match="write it with a unit"):
        Disk.model_validate_json('{"size": 4}', strict=True)
