"""Paths that look like resources and lead to none: who was asked last decides the answer.

Facts: the chain of kube-aggregator, kube-apiserver and apiextensions-apiserver (pkg/apiserver/customresource_handler.go):
what the first two do not know below a group of theirs is a Status, all else the page of a plain web server.
"""

from __future__ import annotations

from slipway.cluster.exchange import Response
from slipway.cluster.schema.resource import Catalogue, Resource
from slipway.cluster.server.api_paths import Target
from slipway.cluster.status import bad_request, method_not_allowed, resource_not_found


def page_not_found() -> Response:
    headers = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}
    return Response(404, headers, b"404 page not found\n")


def outside(path: str) -> bool:
    """Whether upstream's web server finds nobody for a path that looks as if it led to the API."""
    return path.startswith(("//", "/apis//"))


def without_resource(catalogue: Catalogue, target: Target) -> Response:
    """The answer to a path whose group, version or plural is not served."""
    if any(known.group == target.group and not known.custom for known in catalogue.resources.values()):
        raise resource_not_found()
    return page_not_found()


def misplaced(resource: Resource, target: Target, verb: str) -> Response | None:
    """The answer to a path that has a namespace too many or too few, None when it is in its place."""
    if target.namespace and not resource.namespaced:
        if resource.custom:
            return page_not_found()
        raise resource_not_found()
    if not resource.namespaced or target.namespace or verb in {"list", "watch"}:
        return None
    if resource.custom:
        return page_not_found()
    if target.name or verb not in {"create", "deletecollection"}:
        raise resource_not_found()
    raise method_not_allowed()


def check_named(resource: Resource, target: Target, verb: str) -> None:
    """400 for a name that could not be a part of a key. Only a custom resource's collection takes the request before
    it misses the name."""
    name = target.name
    if name in {".", ".."}:
        raise bad_request(f"Name parameter invalid: \"{name}\": may not be '{name}'")
    if "%" in name:
        raise bad_request(f"Name parameter invalid: \"{name}\": may not contain '%'")
    if resource.custom and not target.name and verb in {"update", "patch"}:
        raise bad_request("name must be provided")
