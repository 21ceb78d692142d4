"""Discovery: which groups, versions and resources there are, in the old form and the aggregated one.

Documents are made from the catalogue and kept until it changes. Shapes: k8s.io/apimachinery meta/v1 APIGroupList,
APIResourceList; k8s.io/api apidiscovery v2 and v2beta1 APIGroupDiscoveryList.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from slipway.cluster.exchange import Identity, Request, Response
from slipway.cluster.schema.resource import Catalogue, Resource, Subresource
from slipway.cluster.server.negotiation import negotiate, parse_accept
from slipway.cluster.server.presentation import encode
from slipway.cluster.status import resource_not_found

Object = dict[str, Any]
JSON = {"content-type": "application/json"}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Kinds whose storage version is not the served one, as a 1.37 server's hashes give it away.
_STORED_AS = {
    ("events.k8s.io", "v1", "Event"): "/v1",
    ("autoscaling", "v1", "HorizontalPodAutoscaler"): "autoscaling/v2",
    ("certificates.k8s.io", "v1", "ClusterTrustBundle"): "certificates.k8s.io/v1beta1",
    ("certificates.k8s.io", "v1", "PodCertificateRequest"): "certificates.k8s.io/v1beta1",
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"): "apiextensions.k8s.io/v1beta1",
    ("resource.k8s.io", "v1", "DeviceTaintRule"): "resource.k8s.io/v1beta2",
    ("storagemigration.k8s.io", "v1", "StorageVersionMigration"): "storagemigration.k8s.io/v1beta1",
}
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"


def version_info(minor: str) -> Object:
    """GET /version. The commit and build facts say that this is not the original."""
    major, _, number = minor.partition(".")
    return {
        "major": major,
        "minor": number,
        "emulationMajor": major,
        "emulationMinor": number,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(number) - 1),
        "gitVersion": f"v{minor}.0",
        "gitCommit": "slipway",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "compiler": "slipway",
        "platform": f"{sys.platform}/{_ARCHITECTURES.get(platform.machine(), platform.machine())}",
    }


class Discovery:
    """Answers /version, /api, /apis and everything of them that stops before a resource."""

    def __init__(self, catalogue: Catalogue, minor: str, address: Callable[[], str]) -> None:
        self._catalogue = catalogue
        self._version = orjson.dumps(version_info(minor), option=orjson.OPT_INDENT_2)
        self._address = address
        self._made: dict[str, bytes] = {}
        self._generation = -1

    async def __call__(self, request: Request, identity: Identity) -> Response | None:
        path = request.path.strip("/")
        if path == "version":
            return Response(200, dict(JSON), self._version)
        if path in {"api", "apis"}:
            version = _wants_aggregated(request)
            if version:
                return self._aggregated(request, path, version)
        make = self._maker(path)
        if make is None:
            group, _, version = path.removeprefix("apis/").partition("/")
            ours = path.startswith(("api/", "version/")) or (version and group in self._built_in())
            if ours and path.count("/") <= 2:
                raise resource_not_found()  # below what is served, yet a version that is not
            return None
        headers = request.headers
        form = negotiate(headers.get("accept", ""), request.query, headers.get("user-agent", ""))
        body = self._cached(path, make)
        if form.yaml or form.pretty:
            body = encode(orjson.loads(body), form)
        return Response(200, {"content-type": form.media_type}, body)

    def _cached(self, key: str, make: Callable[[], Object]) -> bytes:
        if self._generation != self._catalogue.generation:
            self._made.clear()
            self._generation = self._catalogue.generation
        if key not in self._made:
            self._made[key] = orjson.dumps(make()) + b"\n"
        return self._made[key]

    def _maker(self, path: str) -> Callable[[], Object] | None:
        groups = self._catalogue.version_order
        match path.split("/"):
            case [""]:
                return lambda: {"paths": self._paths()}
            case ["api"]:
                return self._api_versions
            case ["apis"]:
                return self._group_list
            case ["api", version] if version in groups.get("", []):
                return lambda: self._resource_list("", version)
            case ["apis", group] if group and group in groups:
                return lambda: {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}
            case ["apis", group, version] if group and version in groups.get(group, []):
                return lambda: self._resource_list(group, version)
        return None

    def _groups(self) -> list[str]:
        """Built-in groups by the priority of their APIServices, then custom ones by name."""
        order, built_in = self._catalogue.version_order, self._built_in()
        return [group for group in order if group in built_in] + sorted(set(order) - built_in)

    def _built_in(self) -> set[str]:
        return {resource.group for resource in self._catalogue.resources.values() if not resource.custom}

    def _paths(self) -> list[str]:
        paths = [
            "/.well-known/openid-configuration",
            "/openid/v1/jwks",
            "/metrics",
            "/api",
            "/apis",
            "/healthz",
            "/livez",
            "/readyz",
            "/openapi/v2",
            "/openapi/v3",
            "/version",
        ]
        for group, versions in self._catalogue.version_order.items():
            if group:
                paths += [f"/apis/{group}", *(f"/apis/{group}/{version}" for version in versions)]
            else:
                paths += [f"/api/{version}" for version in versions]
        return sorted(paths)

    def _api_versions(self) -> Object:
        return {
            "kind": "APIVersions",
            "versions": list(self._catalogue.version_order.get("", [])),
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._address()}],
        }

    def _group_list(self) -> Object:
        groups = [self._group(group) for group in self._groups() if group]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def _group(self, group: str) -> Object:
        versions = [
            {"groupVersion": f"{group}/{version}", "version": version}
            for version in self._catalogue.version_order[group]
        ]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _resource_list(self, group: str, version: str) -> Object:
        rows: list[Object] = []
        for resource in sorted(self._catalogue.of_version(group, version), key=lambda r: r.plural):
            rows.append(_row(resource))
            rows += [_sub_row(resource, sub) for sub in resource.subresources]
        if not group:  # the oldest document of all has no apiVersion
            return {"kind": "APIResourceList", "groupVersion": version, "resources": rows}
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{group}/{version}",
            "resources": rows,
        }

    def _aggregated(self, request: Request, path: str, version: str) -> Response:
        body = self._cached(f"{path};{version}", lambda: self._group_discovery(path, version))
        etag = '"' + hashlib.sha512(body).hexdigest().upper() + '"'
        headers = {
            "content-type": _AGGREGATED.format(version=version),
            "etag": etag,
            "vary": "Accept",
            "cache-control": "public",
        }
        if request.headers.get("if-none-match") == etag:
            return Response(304, headers)
        return Response(200, headers, body)

    def _group_discovery(self, path: str, api_version: str) -> Object:
        items = []
        for group in self._groups():
            versions = self._catalogue.version_order[group]
            if (group == "") != (path == "api"):
                continue
            items.append(
                {
                    "metadata": {"name": group} if group else {},
                    "versions": [
                        {
                            "version": version,
                            "resources": list(self._discovered(group, version)),
                            "freshness": "Current",
                        }
                        for version in versions
                    ],
                }
            )
        return {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{api_version}",
            "metadata": {},
            "items": items,
        }

    def _discovered(self, group: str, version: str) -> Iterator[Object]:
        for resource in sorted(self._catalogue.of_version(group, version), key=lambda r: r.plural):
            row: Object = {
                "resource": resource.plural,
                "responseKind": _response_kind(resource, group, version, resource.kind),
                "scope": "Namespaced" if resource.namespaced else "Cluster",
                "singularResource": resource.singular,
                "verbs": _verbs(resource),
            }
            if resource.short_names:
                row["shortNames"] = list(resource.short_names)
            if resource.categories:
                row["categories"] = list(resource.categories)
            if resource.subresources:
                row["subresources"] = [
                    {
                        "subresource": sub.name,
                        "responseKind": _response_kind(resource, sub.group, sub.version, sub.kind),
                        "verbs": sorted(sub.verbs),
                    }
                    for sub in resource.subresources
                ]
            yield row


def _response_kind(resource: Resource, group: str, version: str, kind: str) -> Object:
    """Built-in kinds leave out what is that of the document's own group version; custom ones say it."""
    own = not resource.custom and (group, version) == (resource.group, resource.version)
    return {"group": "" if own else group, "version": "" if own else version, "kind": kind}


def _verbs(resource: Resource) -> list[str]:
    # Built-in kinds list them sorted; custom ones in the order in which upstream states them.
    return list(resource.verbs) if resource.custom else sorted(resource.verbs)


def _row(resource: Resource) -> Object:
    row: Object = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _verbs(resource),
    }
    if resource.short_names:
        row["shortNames"] = list(resource.short_names)
    if resource.categories:
        row["categories"] = list(resource.categories)
    if resource.stored:
        # StorageVersionHash: base64 of the first 8 bytes of a hash of group, version and kind.
        stored = _STORED_AS.get((resource.group, resource.version, resource.kind))
        text = f"{stored or f'{resource.group}/{resource.version}'}/{resource.kind}"
        row["storageVersionHash"] = b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()
    return row


def _sub_row(resource: Resource, sub: Subresource) -> Object:
    own = (sub.group, sub.version) == (resource.group, resource.version)
    return {
        "name": f"{resource.plural}/{sub.name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        **({} if own else {"group": sub.group, "version": sub.version}),
        "kind": sub.kind,
        "verbs": sorted(sub.verbs),
    }


def _wants_aggregated(request: Request) -> str:
    """v2 or v2beta1 when the client's first readable choice is the aggregated form, else empty."""
    for media in parse_accept(request.headers.get("accept", "")):
        if media.name != "application/json":
            continue
        if media.parameters.get("as") == "APIGroupDiscoveryList":
            version = media.parameters.get("v", "")
            if version in {"v2", "v2beta1"}:
                return version
            continue
        return ""
    return ""
