"""IP addresses, CIDR ranges and URLs in CEL, as Kubernetes' libraries have them."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import SplitResult, parse_qsl, quote, unquote

from slipway.cluster.schema.cel.kinds import Functions
from slipway.cluster.schema.cel.problems import EvaluationError
from slipway.cluster.schema.cel.values import Opaque

NETWORK = Functions()
overload = NETWORK.overload
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def _traverse(text: Any, *_: Any) -> float:
    return len(text) / 10


@dataclass(frozen=True, slots=True)
class IP(Opaque):
    type_name: ClassVar[str] = "net.IP"
    address: _Address


@dataclass(frozen=True, slots=True)
class CIDR(Opaque):
    """`interface` keeps the host bits that were written."""

    type_name: ClassVar[str] = "net.CIDR"
    interface: _Network


@dataclass(frozen=True, slots=True)
class URL(Opaque):
    type_name: ClassVar[str] = "kubernetes.URL"
    parts: SplitResult


def _parse_ip(text: str) -> _Address:
    shown = json.dumps(text)
    if "%" in text:
        raise EvaluationError(f"IP address {shown} with zone value is not allowed")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        why = f"ParseAddr({shown}): unable to parse IP"
        raise EvaluationError(
            f"IP Address {shown} parse error during conversion from string: {why}"
        ) from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise EvaluationError(f"IPv4-mapped IPv6 address {shown} is not allowed")
    return address


def _parse_cidr(text: str) -> _Network:
    shown = json.dumps(text)
    address, slash, bits = text.partition("/")
    try:
        if not slash or "%" in address or not re.fullmatch(r"0|[1-9][0-9]*", bits, re.ASCII):
            raise ValueError
        network = ipaddress.ip_interface(text)
    except ValueError:
        why = f"netip.ParsePrefix({shown}): " + ("no '/'" if not slash else "unable to parse IP")
        raise EvaluationError(f"network address parse error during conversion from string: {why}") from None
    if isinstance(network, ipaddress.IPv6Interface) and network.ip.ipv4_mapped is not None:
        raise EvaluationError(f"IPv4-mapped IPv6 address {shown} is not allowed")
    return network


def _succeeds(parse: Any, text: str) -> bool:
    try:
        parse(text)
    except EvaluationError:
        return False
    return True


@overload("ip(string) net.IP", cost=_traverse)
def _ip(text: str) -> IP:
    return IP(_parse_ip(text))


@overload("isIP(string) bool", cost=_traverse)
def _is_ip(text: str) -> bool:
    return _succeeds(_parse_ip, text)


@overload("::ip.isCanonical(string) bool", cost=lambda text: len(text) / 5)
def _is_canonical(text: str) -> bool:
    return str(_parse_ip(text)) == text


@overload("string(net.IP) string")
def _string_of_ip(value: IP) -> str:
    return str(value.address)


@overload("net.IP.family() int")
def _family(value: IP) -> int:
    return value.address.version


@overload("net.IP.isUnspecified() bool")
def _is_unspecified(value: IP) -> bool:
    return value.address.is_unspecified


@overload("net.IP.isLoopback() bool")
def _is_loopback(value: IP) -> bool:
    return value.address.is_loopback


@overload("net.IP.isLinkLocalMulticast() bool")
def _is_link_local_multicast(value: IP) -> bool:
    network = "224.0.0.0/24" if value.address.version == 4 else "ff02::/16"
    mask = 0xFF0F if value.address.version == 6 else None
    if mask is not None:  # any flags, link-local scope
        return (int(value.address) >> 112) & mask == 0xFF02
    return value.address in ipaddress.ip_network(network)


@overload("net.IP.isLinkLocalUnicast() bool")
def _is_link_local_unicast(value: IP) -> bool:
    return value.address.is_link_local


@overload("net.IP.isGlobalUnicast() bool")
def _is_global_unicast(value: IP) -> bool:
    address = value.address
    if address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local:
        return False
    return str(address) != "255.255.255.255"


@overload("cidr(string) net.CIDR", cost=_traverse)
def _cidr(text: str) -> CIDR:
    try:
        return CIDR(_parse_cidr(text))
    except EvaluationError as error:  # upstream says it twice
        raise EvaluationError(f"network address parse error during conversion from string: {error}") from None


@overload("isCIDR(string) bool", cost=_traverse)
def _is_cidr(text: str) -> bool:
    return _succeeds(_parse_cidr, text)


@overload("string(net.CIDR) string")
def _string_of_cidr(value: CIDR) -> str:
    return str(value.interface)


@overload("net.CIDR.containsIP(string) bool", cost=lambda _, text: len(text) / 10)
def _contains_ip_text(value: CIDR, text: str) -> bool:
    return _parse_ip(text) in value.interface.network


@overload("net.CIDR.containsIP(net.IP) bool")
def _contains_ip(value: CIDR, ip: IP) -> bool:
    return ip.address in value.interface.network


@overload("net.CIDR.containsCIDR(string) bool", cost=lambda _, text: len(text) / 10)
def _contains_cidr_text(value: CIDR, text: str) -> bool:
    return _contains(value.interface, _parse_cidr(text))


@overload("net.CIDR.containsCIDR(net.CIDR) bool")
def _contains_cidr(value: CIDR, other: CIDR) -> bool:
    return _contains(value.interface, other.interface)


def _contains(outer: _Network, inner: _Network) -> bool:
    return inner.ip in outer.network and inner.network.prefixlen >= outer.network.prefixlen


@overload("net.CIDR.ip() net.IP")
def _ip_of_cidr(value: CIDR) -> IP:
    return IP(value.interface.ip)


@overload("net.CIDR.prefixLength() int")
def _prefix_length(value: CIDR) -> int:
    return value.interface.network.prefixlen


@overload("net.CIDR.masked() net.CIDR")
def _masked(value: CIDR) -> CIDR:
    return CIDR(ipaddress.ip_interface(value.interface.network.with_prefixlen))


def _parse_url(text: str) -> SplitResult:
    """net/url.ParseRequestURI, and absolute: a scheme and host, or a path that begins with a slash."""
    intro = f"URL parse error during conversion from string: parse {json.dumps(text)}"
    if not text:
        raise EvaluationError(f"{intro}: empty url")
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
        raise EvaluationError(f"{intro}: net/url: invalid control character in URL")
    found = re.fullmatch(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?]*))?([^?]*)(?:\?(.*))?", text, re.DOTALL)
    if found is None or (found[1] is None and not text.startswith("/")):
        raise EvaluationError(f"{intro}: invalid URI for request")
    scheme, authority, path, query = found.groups()
    bad = re.search(r"%(?![0-9a-fA-F]{2}).{0,2}", (authority or "") + path)
    if bad:
        raise EvaluationError(f'{intro}: invalid URL escape "{bad[0]}"')
    host = (authority or "").rpartition("@")[2]
    port = re.fullmatch(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::([0-9]*))?", host)
    if port is None:
        raise EvaluationError(f'{intro}: invalid port ":{host.rpartition(":")[2]}" after host')
    if " " in host:
        raise EvaluationError(f'{intro}: invalid character " " in host name')
    return SplitResult((scheme or "").lower(), authority or "", path, query or "", "")


@overload("url(string) kubernetes.URL", cost=_traverse)
def _url(text: str) -> URL:
    return URL(_parse_url(text))


@overload("isURL(string) bool")
def _is_url(text: str) -> bool:
    return _succeeds(_parse_url, text)


def _host(value: URL) -> str:
    return unquote(value.parts.netloc.rpartition("@")[2])


@overload("kubernetes.URL.getScheme() string")
def _get_scheme(value: URL) -> str:
    return value.parts.scheme


@overload("kubernetes.URL.getHost() string")
def _get_host(value: URL) -> str:
    return _host(value)


@overload("kubernetes.URL.getHostname() string")
def _get_hostname(value: URL) -> str:
    return _host_and_port(value)[0]


@overload("kubernetes.URL.getPort() string")
def _get_port(value: URL) -> str:
    return _host_and_port(value)[1]


def _host_and_port(value: URL) -> tuple[str, str]:
    found = re.fullmatch(r"(?:\[([^\]]*)\]|([^:]*))(?::([0-9]*))?", _host(value))
    return ("", "") if found is None else (found[1] or found[2] or "", found[3] or "")


@overload("kubernetes.URL.getEscapedPath() string")
def _get_escaped_path(value: URL) -> str:
    return quote(value.parts.path, safe="/%:@!$&'()*+,;=~-._")


@overload("kubernetes.URL.getQuery() map(string, list(string))")
def _get_query(value: URL) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for key, item in parse_qsl(value.parts.query, keep_blank_values=True):
        result.setdefault(key, []).append(item)
    return result
