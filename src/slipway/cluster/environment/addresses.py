"""Address ranges for pods and services that neither the host nor another cluster on it uses.

Routes say what the host uses; a lock file, held while a cluster lives, says what a cluster has taken, also in the
moment before its routes exist.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

Network = ipaddress.IPv4Network
PODS, SERVICES = "10.244.0.0/16", "10.96.0.0/16"
SERVICES_LEAST = 16  # cluster DNS has the tenth
PODS_PER_NODE_LEAST = 8


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
    return [*networks, *_local_networks()]


def _local_networks() -> list[Network]:
    """Whole networks that count as this host's own addresses: how clusters route their Services."""
    program = shutil.which("ip") or shutil.which("ip", path="/usr/sbin:/sbin")
    if program is None:
        return []
    said = subprocess.run(
        [program, "-4", "route", "show", "table", "local"], capture_output=True, text=True, check=False
    )
    found = []
    for line in said.stdout.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "local" and "/" in words[1]:
            found.append(Network(words[1]))
    return found


def check_range(text: str, option: str, routes: Iterable[Network], least: int) -> Network:
    """The range, if it is one, free and has `least` addresses; RangeError names the option and what is in the way."""
    try:
        wanted = Network(text)
    except ValueError as error:
        raise RangeError(f"{option} {text}: {error}; give a network such as 10.244.0.0/16") from None
    if wanted.num_addresses < least:
        raise RangeError(
            f"{option} {text} has {wanted.num_addresses} addresses, and {least} are needed; give a network such as"
            f" {PODS}"
        )
    for route in routes:
        if wanted.overlaps(route):
            raise RangeError(
                f"{option} {text} overlaps with {route}, to which this host has a route; choose another range"
            )
    return wanted


def _candidates(first: str) -> Iterator[Network]:
    """`first`, then every network of its size in 10.0.0.0/8 after it, round once."""
    candidate, private = Network(first), Network("10.0.0.0/8")
    for _ in range(2 ** (candidate.prefixlen - private.prefixlen)):
        yield candidate
        following = int(candidate.network_address) + candidate.num_addresses
        if ipaddress.IPv4Address(following) not in private:
            following = int(private.network_address)
        candidate = Network((following, candidate.prefixlen))


class RangeLeases:
    """The ranges of one cluster, from `take` until `release`; the system releases them when the process dies."""

    def __init__(self) -> None:
        self._held: list[int] = []
        self._folder = Path(tempfile.gettempdir()) / f"slipway-ranges-{os.getuid()}"

    def take(self, asked: str, option: str, first: str, least: int, avoid: Iterable[Network]) -> Network:
        """`asked`, or the first free range from `first` on when nothing is asked; RangeError if it is taken."""
        taken = list(avoid)
        if asked:
            wanted = check_range(asked, option, taken, least)
            if not self._lock(wanted):
                raise RangeError(f"{option} {asked} is used by another cluster; choose another range")
            return wanted
        for candidate in _candidates(first):
            if not any(candidate.overlaps(network) for network in taken) and self._lock(candidate):
                return candidate
        raise RangeError("no free /16 in 10.0.0.0/8: name ranges with --pod-range and --service-range")

    def _lock(self, network: Network) -> bool:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / str(network).replace("/", "_")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._held.append(descriptor)
        return True

    def release(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)
        self._held.clear()
