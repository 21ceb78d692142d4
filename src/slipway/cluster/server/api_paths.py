"""A request path of the API, taken apart: group, version, namespace, resource, name, sub-resource.

Escapes are undone before it is: `%2F` separates as a slash does, for authorization and for the answer alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class Target:
    """`/api/v1/namespaces/d/pods/p/log` is group "", version v1, namespace d, plural pods, name p, sub log.

    `rest` is what follows a proxying sub-resource. `legacy_watch` is the old `/watch/` prefix.
    """

    group: str
    version: str
    namespace: str = ""
    plural: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    legacy_watch: bool = False


# Sub-resources of a Namespace itself; any other third segment is a resource in it.
_OF_NAMESPACE = {"status", "finalize"}


def parse_path(path: str) -> Target | None:
    """The target of a path below /api or /apis that goes as far as a resource; None for any other path."""
    segments = unquote(path).strip("/").split("/")
    if len(segments) >= 3 and segments[0] == "api":
        group, version, rest = "", segments[1], segments[2:]
    elif len(segments) >= 4 and segments[0] == "apis":
        group, version, rest = segments[1], segments[2], segments[3:]
    else:
        return None
    legacy_watch = rest[0] == "watch" and len(rest) > 1
    if legacy_watch:
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and not (len(rest) == 3 and rest[2] in _OF_NAMESPACE):
        namespace, rest = rest[1], rest[2:]
    plural, name = rest[0], rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    return Target(group, version, namespace, plural, name, subresource, "/".join(rest[3:]), legacy_watch)
