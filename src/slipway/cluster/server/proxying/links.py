"""Links of a proxied backend, in redirects and in HTML pages, turned to where its clients find it: below the proxy.

Only what leads to the same host from its root is changed, as the API server does; `links.json` says which
attributes of which elements are links.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from urllib.parse import urlsplit, urlunsplit

from slipway.cluster.server.proxying.paths import joined

# A comment, a declaration or an end tag, which stay as they are, or a start tag with its attributes.
_TAG = re.compile(
    r"<!--.*?-->|<[!?/][^>]*>|<(?P<name>[a-zA-Z][^\s/>]*)(?P<attributes>(?:[^\"'>]|\"[^\"]*\"|'[^']*')*)>",
    re.S,
)
_ATTRIBUTE = re.compile(r"""([^\s=/"'>][^\s=/>]*)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s>"'][^\s>]*))?""")
_RAW_TEXT = {"script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes", "noscript"}
_ESCAPES = str.maketrans({"&": "&amp;", "'": "&#39;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "\r": "&#13;"})


@dataclass(frozen=True, slots=True)
class Links:
    """`prefix` is the path of the proxy; the backend is meant by its own `host` and by the one that clients ask."""

    prefix: str
    host: str
    asked_host: str

    def turned(self, link: str) -> str:
        """The link as clients of the proxy must follow it. One that cannot be understood stays as it is."""
        try:
            parts = urlsplit(link)
        except ValueError:
            return link
        if parts.netloc not in {"", self.host, self.asked_host} or not parts.path.startswith("/"):
            return link
        scheme, host = (parts.scheme, parts.netloc) if parts.netloc == self.asked_host else ("", "")
        path = parts.path if parts.path.startswith(self.prefix) else joined(self.prefix, parts.path)
        return urlunsplit((scheme, host, path, parts.query, parts.fragment))

    def turned_page(self, page: str) -> str:
        """The HTML page with all its links turned; start tags are written anew, all else is left alone."""
        parts, end = [], 0
        while found := _TAG.search(page, end):
            parts.append(page[end : found.start()])
            name = (found["name"] or "").lower()
            parts.append(self._tag(name, found["attributes"]) if name else found[0])
            end = found.end()
            if name in _RAW_TEXT:
                closing = re.compile(rf"</{name}", re.I).search(page, end)
                stop = closing.start() if closing else len(page)
                parts.append(page[end:stop])
                end = stop
        return "".join(parts) + page[end:]

    def _tag(self, name: str, attributes: str) -> str:
        links = _attributes_with_links().get(name, ())
        shown = [name]
        for found in _ATTRIBUTE.finditer(attributes):
            key, value = found[1].lower(), found[2] or ""
            if value[:1] in {'"', "'"}:
                value = value[1:-1]
            value = html.unescape(value)
            if key in links:
                value = self.turned(value)
            shown.append(f'{key}="{value.translate(_ESCAPES)}"')
        return f"<{' '.join(shown)}{'/' if attributes.rstrip().endswith('/') else ''}>"


@cache
def _attributes_with_links() -> dict[str, list[str]]:
    text = files("slipway.cluster.server.proxying").joinpath("links.json").read_text(encoding="utf-8")
    table: dict[str, list[str]] = json.loads(text)
    return table
