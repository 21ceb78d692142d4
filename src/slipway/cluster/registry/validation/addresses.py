"""IP addresses and networks in fields that have always taken a little more than the standards allow."""

from __future__ import annotations

import ipaddress
import re

from slipway.cluster.registry.validation.findings import Findings

NOT_AN_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
NOT_A_NETWORK = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_address(text: str) -> Address | None:
    """Leading zeros in IPv4 octets are taken as decimal, as Go once did."""
    plain = re.sub(r"(?<![0-9a-fA-F:])0+(?=\d)", "", text) if text.count(".") == 3 else text
    try:
        return ipaddress.ip_address(plain)
    except ValueError:
        return None


def parse_network(text: str) -> Network | None:
    address, slash, bits = text.partition("/")
    found = parse_address(address)
    if found is None or not slash or not re.fullmatch("[0-9]{1,3}", bits):
        return None
    try:
        return ipaddress.ip_network(f"{found}/{int(bits)}", strict=False)
    except ValueError:
        return None


def address_errors(found: Findings, path: str, text: str) -> None:
    if parse_address(text) is None:
        found.invalid(path, text, NOT_AN_ADDRESS)


def network_errors(found: Findings, path: str, text: str) -> None:
    if parse_network(text) is None:
        found.invalid(path, text, NOT_A_NETWORK)
