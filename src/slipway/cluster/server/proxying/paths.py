"""Paths of proxied requests: what of them the backend sees, joined and escaped as Go's libraries do it."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import quote, unquote

_PROXIED = re.compile(r"(/api/v1/(?:namespaces/[^/]+/(?:pods|services)|nodes)/[^/]+/proxy)(/.*)?", re.S)
_UNESCAPED = "$&+,/:;=@~"  # besides letters, digits and _.-


def split_path(path: str) -> tuple[str, str] | None:
    """The path of a proxy and what follows it, unescaped, empty when nothing does; None for any other path."""
    found = _PROXIED.fullmatch(unquote(path))
    if found is None:
        return None
    return found[1], joined("/", found[2]) if found[2] else ""


def joined(prefix: str, path: str) -> str:
    """Both as one clean path that keeps its closing slash."""
    clean = posixpath.normpath(f"{prefix.rstrip('/')}/{path.lstrip('/')}")
    clean = "/" + clean.lstrip("/")
    return clean + "/" if path.endswith("/") and not clean.endswith("/") else clean


def escaped(path: str) -> str:
    return quote(path, safe=_UNESCAPED)
