"""The target of a request line as path and query: origin form, absolute form, or what should have been either."""

from __future__ import annotations

import re
from urllib.parse import quote

import httptools

_SAFE = "".join(chr(code) for code in range(0x21, 0x7F))


def origin_form(url: bytes, path: bytes, query: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request target that does not begin with a slash (`http://host/path`, `*`)."""
    if b"://" not in url:
        return b"/" + path, query
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        return b"/", b""
    return parsed.path or b"/", parsed.query or b""


_ILL_ESCAPED = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def is_ill_escaped(path: bytes) -> bool:
    """Whether a percent sign in a path begins no escape, which Go's net/http refuses."""
    return b"%" in path and _ILL_ESCAPED.search(path) is not None


def ascii_text(raw: bytes) -> str:
    """A path or query as text; bytes that should have been percent-encoded are."""
    return raw.decode("ascii") if raw.isascii() else quote(raw, safe=_SAFE)
