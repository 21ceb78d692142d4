"""Addresses of endpoints, as people write them."""

from dataclasses import dataclass
from urllib.parse import urlsplit


class InvalidUrl(Exception):
    """Text that is no http(s) address; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Address:
    """One HTTP endpoint. `host` is as written (a name or an IP), `path` holds the query string too."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The Host header: the port is named where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.scheme == "https" else 80
        return host if self.port == usual else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def shown(self) -> str:
        """For status and logs: a query string may hold a token and is left out."""
        return str(self).partition("?")[0]


def parse_url(text: str, *, field: str = "url") -> Address:
    """An absolute http(s) URL."""
    if any(ord(mark) <= 32 or ord(mark) == 127 for mark in text):
        raise InvalidUrl(f"{field} {text[:80]!r} must not contain spaces or control characters")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as failure:
        raise InvalidUrl(f"{field} {text[:80]!r}: {failure}") from None
    if parts.scheme not in ("http", "https"):
        raise InvalidUrl(f"{field} {text[:80]!r} must begin with http:// or https://")
    if not parts.hostname:
        raise InvalidUrl(f"{field} {text[:80]!r} names no host")
    if parts.username or parts.password:
        raise InvalidUrl(f"{field} must not hold credentials; use headers with valueFrom.secretKeyRef")
    try:
        host = parts.hostname.encode("idna").decode() if not parts.hostname.isascii() else parts.hostname
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        path.encode("ascii")
    except UnicodeError:
        raise InvalidUrl(f"{field} {text[:80]!r} must be ASCII; percent-encode other characters") from None
    return Address(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), path)
