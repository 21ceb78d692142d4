"""Address ranges for pods and services that the host does not use already."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path

Network = ipaddress.IPv4Network


class RangeError(ValueError):
    """A range cannot be used; the text says which, why, and what to choose."""


def host_routes(table: Path = Path("/proc/net/route")) -> list[Network]:
    """The IPv4 networks that the host reaches by a route of its own, without the default route; none where the
    system does not say (macOS)."""
    networks = []
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return []
    for line in lines:
        fields = line.split()
        if len(fields) < 8:
            continue
        address = int.from_bytes(bytes.fromhex(fields[1]), "little")
        mask = int.from_bytes(bytes.fromhex(fields[7]), "little")
        if mask:
            networks.append(Network((address & mask, bin(mask).count("1"))))
    return networks


def check_range(text: str, option: str, routes: Iterable[Network]) -> Network:
    """The range, if it is one and free; RangeError names the option and the route in the way."""
    try:
        wanted = Network(text)
    except ValueError as error:
        raise RangeError(f"{option} {text}: {error}; give a network such as 10.244.0.0/16") from None
    for route in routes:
        if wanted.overlaps(route):
            raise RangeError(
                f"{option} {text} overlaps with {route}, to which this host has a route; choose another range"
            )
    return wanted


def free_range(prefix: int, avoid: Iterable[Network], first: str) -> Network:
    """The first network of that size from `first` on within 10.0.0.0/8 that overlaps none of `avoid`."""
    taken = list(avoid)
    candidate = Network(first)
    private = Network("10.0.0.0/8")
    for _ in range(2 ** (prefix - 8)):
        if not any(candidate.overlaps(network) for network in taken):
            return candidate
        following = int(candidate.network_address) + candidate.num_addresses
        if ipaddress.IPv4Address(following) not in private:
            following = int(private.network_address)
        candidate = Network((following, prefix))
    raise RangeError("no free /16 in 10.0.0.0/8: name ranges with --pod-range and --service-range")
