"""Which addresses KCO may connect to (SSRF guard), judged after DNS resolution.

A name is resolved once, every address that it gives is checked, and the connection is made to a checked
address; nothing resolves the name a second time, so rebinding it in between changes nothing.
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

# Loopback, link-local (which holds the clouds' metadata services), unspecified, multicast, and the
# metadata addresses that are not link-local (Alibaba; AWS over IPv6; the carrier range is left open).
ALWAYS_REFUSED = (
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "100.100.100.200/32",
    "224.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "fe80::/10",
    "fd00:ec2::254/128",
    "ff00::/8",
)


class Refused(Exception):
    """An address that must not be connected to."""

    def __init__(self, host: str, address: str, network: str) -> None:
        super().__init__(
            f"{host} is {address}, which is in the refused network {network}; "
            "the operator's setting ALLOWED_NETWORKS can allow it"
        )


class Unresolvable(Exception):
    """A name that DNS does not know (now)."""


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Addresses of a name by the machine's resolver; an address is its own."""
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as failure:
        raise Unresolvable(f"cannot resolve {host}: {failure.strerror or failure}") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Guard:
    """Decides about addresses; `allowed` wins over `refused`."""

    def __init__(
        self,
        *,
        refused: Iterable[str] = (),
        allowed: Iterable[str] = (),
        resolver: Resolver = system_resolver,
    ) -> None:
        self._refused = [ipaddress.ip_network(text) for text in (*ALWAYS_REFUSED, *refused)]
        self._allowed = [ipaddress.ip_network(text) for text in allowed]
        self._resolver = resolver

    def refuse(self, network: str) -> None:
        """Refuse one more network (the API server's own address, known only at run time)."""
        self._refused.append(ipaddress.ip_network(network))

    def check(self, host: str, address: str) -> None:
        """Raise `Refused` where this address must not be connected to."""
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(parsed, ipaddress.IPv6Address):
            # ::ffff:169.254.169.254 and 6to4 spellings of a refused address are that address.
            parsed = parsed.ipv4_mapped or parsed.sixtofour or parsed
        if any(parsed in network for network in self._allowed if network.version == parsed.version):
            return
        for network in self._refused:
            if network.version == parsed.version and parsed in network:
                raise Refused(host, address, str(network))

    async def addresses(self, host: str, port: int) -> list[str]:
        """Checked addresses of a host; one refused address refuses the host."""
        literal = host.strip("[]")
        try:
            ipaddress.ip_address(literal.partition("%")[0])
            found: Sequence[str] = [literal]
        except ValueError:
            found = await self._resolver(host, port)
        for address in found:
            self.check(host, address)
        if not found:
            raise Unresolvable(f"cannot resolve {host}: no addresses")
        return list(found)
