"""What an API server serves, asked of itself: every resource with its verbs, preferred versions first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from slipway.cluster.client.client import Client
from slipway.cluster.client.resources import ApiResource

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


@dataclass(frozen=True, slots=True)
class Served:
    """A resource as discovery tells of it; `preferred` when its version is its group's first one.

    `names` are what people call it, in small letters: plural, singular, kind, short names.
    """

    resource: ApiResource
    verbs: frozenset[str]
    preferred: bool
    names: frozenset[str] = frozenset()


async def discover(client: Client) -> list[Served]:
    """All resources (sub-resources left out). StatusError when the server does not answer."""
    found: list[Served] = []
    for root in ("/api", "/apis"):
        document = await _get(client, root, _AGGREGATED)
        if document.get("kind") == "APIGroupDiscoveryList":
            found.extend(_aggregated(document))
        else:
            found.extend(await _piecewise(client, root, document))
    return found


def _aggregated(document: dict[str, Any]) -> Iterator[Served]:
    for group in document.get("items") or ():
        name = (group.get("metadata") or {}).get("name", "")
        seen: set[str] = set()
        for version in group.get("versions") or ():
            for item in version.get("resources") or ():
                plural = item["resource"]
                resource = ApiResource(
                    name,
                    version["version"],
                    plural,
                    (item.get("responseKind") or {}).get("kind", ""),
                    item.get("scope") == "Namespaced",
                )
                names = _names(resource, item.get("singularResource"), item.get("shortNames"))
                yield Served(resource, frozenset(item.get("verbs") or ()), plural not in seen, names)
                seen.add(plural)


async def _piecewise(client: Client, root: str, document: dict[str, Any]) -> list[Served]:
    if root == "/api":
        groups = [("", document.get("versions") or [])]
    else:
        groups = [
            (group["name"], [version["version"] for version in group["versions"]])
            for group in document.get("groups") or ()
        ]
    found = []
    for name, versions in groups:
        seen: set[str] = set()
        for version in versions:
            path = f"{root}/{name}/{version}" if name else f"{root}/{version}"
            for item in (await _get(client, path, "application/json")).get("resources") or ():
                if "/" in item["name"]:
                    continue
                resource = ApiResource(name, version, item["name"], item["kind"], item["namespaced"])
                names = _names(resource, item.get("singularName"), item.get("shortNames"))
                found.append(Served(resource, frozenset(item["verbs"]), item["name"] not in seen, names))
                seen.add(item["name"])
    return found


def _names(resource: ApiResource, singular: str | None, short: list[str] | None) -> frozenset[str]:
    return frozenset(
        {resource.plural, resource.kind.lower(), singular or resource.kind.lower(), *(short or ())}
    )


async def _get(client: Client, path: str, accept: str) -> dict[str, Any]:
    response = await client.raw("GET", path, headers={"accept": accept})
    body = response.body if isinstance(response.body, bytes) else b""
    decoded: dict[str, Any] = orjson.loads(body) if response.status == 200 else {}
    return decoded
