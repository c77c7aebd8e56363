"""Addresses that may not be dialled, on both sides of each network's edge."""

import pytest

from curate.fetch.guard import Guard


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1",
        "127.255.255.255", "169.254.0.0", "169.254.169.254", "172.16.0.0", "172.31.255.255", "192.0.0.1", "192.0.2.1",
        "192.88.99.1", "192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.1", "203.0.113.1",
        "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16", "100.100.100.200",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2", "3fff::1", "100::1", "4000::1", "5f00::1",
        "::ffff:127.0.0.1", "::ffff:10.1.2.3",
        "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "2002:7f00:1::", "2002:a00:1::1",
        "", "nonsense", "1.2.3",
    ],
)  # fmt: skip
def test_special_addresses_are_refused(address: str) -> None:
    assert Guard().refusal(address)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1",
        "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.1", "192.167.255.255",
        "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.17", "2001:200::1",
        "2606:4700::1111",
        "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
    ],
)  # fmt: skip
def test_public_addresses_pass(address: str) -> None:
    assert Guard().refusal(address) is None


def test_the_reason_says_what_kind_of_address_it_is() -> None:
    assert Guard().refusal("127.0.0.1") == "loopback address 127.0.0.1"
    assert Guard().refusal("::ffff:10.0.0.1") == "private address ::ffff:10.0.0.1"


def test_an_allowed_network_passes_in_every_form_and_nothing_else_does() -> None:
    guard = Guard(["127.0.0.0/30", "fd00::/8"])
    assert guard.refusal("127.0.0.3") is None
    assert guard.refusal("::ffff:127.0.0.1") is None
    assert guard.refusal("fd12::1") is None
    assert guard.refusal("127.0.0.4")
    assert guard.refusal("10.0.0.1")
