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


def strict_address(text: str) -> list[str]:
    """What is wrong with an address where nothing but its one spelling is taken, such as in a name."""
    found = parse_address(text)
    if found is None:
        return [NOT_AN_ADDRESS]
    wrong = []
    try:
        ipaddress.ip_address(text)
    except ValueError:
        wrong.append("must not have leading 0s")
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return [*wrong, "must not be an IPv4-mapped IPv6 address"]
    if not wrong and text != str(found):
        wrong.append(f'must be in canonical form ("{found}")')
    return wrong


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
