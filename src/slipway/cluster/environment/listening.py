"""Where a cluster listens, and by which address and names it is found there."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass


class HostError(ValueError):
    """The cluster cannot listen where it should; the text names the option, and what to give instead."""


@dataclass(frozen=True, slots=True)
class ListeningHost:
    """`given` is what was asked for, `address` the IP address that it stands for; 0.0.0.0 and :: are all of this
    machine's."""

    given: str
    address: str

    @classmethod
    def of(cls, host: str) -> ListeningHost:
        """Ask the system what the host is; HostError if it does not know. IPv4 goes first."""
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
            raise HostError(
                f"--host {host}: {reason}; give an address of this machine, such as 127.0.0.1"
            ) from None
        addresses = sorted((row[0] != socket.AF_INET, str(row[4][0])) for row in found)
        return cls(host, addresses[0][1])

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(self.address).is_loopback

    @property
    def advertised(self) -> str:
        """The address that clients on this machine are told."""
        if not ipaddress.ip_address(self.address).is_unspecified:
            return self.address
        return "::1" if ":" in self.address else "127.0.0.1"

    @property
    def in_url(self) -> str:
        return f"[{self.advertised}]" if ":" in self.advertised else self.advertised

    @property
    def address_type(self) -> str:
        """As EndpointSlices call it."""
        return "IPv6" if ":" in self.advertised else "IPv4"

    def names(self) -> list[str]:
        """What a certificate has to name; with all addresses also those that others know this machine by."""
        found = [self.given, self.advertised]
        if self.address != self.advertised:
            found.append(socket.gethostname())
            try:
                found += [str(row[4][0]).partition("%")[0] for row in socket.getaddrinfo(found[-1], None)]
            except OSError:
                pass  # a machine that does not know its own name is still found by its other names
        return list(dict.fromkeys(found))

    def refused(self, port: int, error: OSError) -> HostError:
        """The same error in words of the options."""
        if error.errno == errno.EADDRINUSE:
            return HostError(
                f"--port {port}: another program listens there on {self.address}; choose another, or 0 for a free one"
            )
        if error.errno == errno.EADDRNOTAVAIL:
            return HostError(f"--host {self.given}: {self.address} is no address of this machine")
        if error.errno == errno.EACCES:
            return HostError(f"--port {port}: this user may not listen there; choose one above 1023")
        return HostError(f"--host {self.given} --port {port}: {error.strerror or error}")
