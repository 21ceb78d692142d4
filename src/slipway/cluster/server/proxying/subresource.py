"""The `proxy` sub-resource: takes a request for a pod, a service or a node, passes it on and brings back the answer.

Facts: k8s.io/apimachinery 0.37 pkg/util/proxy, and recorded answers of a real API server; so an upgraded request
reaches the backend without its query, as there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from urllib.parse import parse_qs

from slipway.cluster.exchange import Duplex, Request, Response
from slipway.cluster.kubelet import Kubelet
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.registry import Registry
from slipway.cluster.server.connecting import admit_connection
from slipway.cluster.server.proxying.backends import Backend, Backends, Unreachable, connected
from slipway.cluster.server.proxying.conversation import BrokenAnswer, Conversation
from slipway.cluster.server.proxying.kubelet_documents import kubelet_document
from slipway.cluster.server.proxying.links import Links
from slipway.cluster.server.proxying.paths import escaped, joined, split_path
from slipway.cluster.status import StatusError, bad_request, method_not_allowed, resource_not_found

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
PAGE_LIMIT = 16 * 1024 * 1024  # bytes of a page whose links are turned; a longer one is passed on as it is
_KINDS = {"pods": "PodProxyOptions", "services": "ServiceProxyOptions", "nodes": "NodeProxyOptions"}
# What is between two ends of one connection and never passed on.
_HOP_BY_HOP = frozenset(
    [
        "connection",
        "proxy-connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
_OF_THE_API_SERVER = frozenset({"authorization", "content-length", "expect", "host"})
_CORS = frozenset(f"access-control-allow-{name}" for name in ("credentials", "headers", "methods", "origin"))


class Proxy:
    """Handles `pods/proxy`, `services/proxy` and `nodes/proxy`."""

    def __init__(self, registry: Registry, kubelets: Mapping[str, Kubelet]) -> None:
        self._registry = registry
        self._kubelets = kubelets
        self._backends = Backends(registry, kubelets)

    async def __call__(self, call: Call, request: Request) -> Response:
        if request.method not in METHODS:
            raise method_not_allowed()
        paths = split_path(request.path)
        if paths is None:
            raise resource_not_found()
        prefix, path = paths
        if parse_qs(request.query).get("dryRun"):
            raise bad_request("dryRun is not supported")
        options = {"kind": _KINDS[call.resource.plural], "apiVersion": "v1"}
        await admit_connection(self._registry, call, {**options, "path": path} if path else options)
        backend = self._backends.of(call)
        upgrading = "upgrade" in request.headers.get("connection", "").lower()
        if upgrading and backend.dial is not None:
            return await self._upgraded(request, backend, path)
        if not path and request.method in {"GET", "HEAD"}:
            query = f"?{request.query}" if request.query else ""
            return Response(301, {"location": f"{prefix}/{query}"})
        if backend.dial is None:
            kubelet = self._kubelets[backend.node]
            return await kubelet_document(
                self._registry, kubelet, backend.node, request.method, path, request.query
            )
        return await self._passed_on(request, backend, prefix, path)

    async def _passed_on(self, request: Request, backend: Backend, prefix: str, path: str) -> Response:
        headers = _forwarded(request, _HOP_BY_HOP)
        headers["x-forwarded-uri"] = joined(prefix, escaped(path or "/"))
        target = escaped(path or "/") + (f"?{request.query}" if request.query else "")
        try:
            conversation = Conversation(await connected(backend))
        except Unreachable as error:
            raise _unreachable(str(error)) from None
        conversation.ask(_head(request, target, headers), request.body)
        try:
            status = await conversation.status()
        except BaseException as error:
            await conversation.aclose()
            if isinstance(error, BrokenAnswer):
                raise _unreachable(str(error)) from None
            raise
        links = Links(prefix, backend.host, request.headers.get("host", ""))
        response = _answer(request, status, conversation, links)
        if status in {204, 304}:
            await conversation.aclose()
            response.body = b""
        elif request.method != "HEAD":
            await _turn_page(response, conversation, links)
        return response

    async def _upgraded(self, request: Request, backend: Backend, path: str) -> Response:
        headers = _forwarded(request, frozenset())
        try:
            conversation = Conversation(await connected(backend))
        except Unreachable as error:
            raise StatusError(500, "", f"error dialing backend: {error}") from None
        conversation.ask(_head(request, escaped(path or "/"), headers), request.body)
        try:
            status = await conversation.status()
        except BaseException as error:
            await conversation.aclose()
            if isinstance(error, BrokenAnswer):
                raise StatusError(500, "", str(error)) from None
            raise
        if status == 101:
            return Response(101, dict(conversation.headers), upgrade=_Tunnel(conversation))
        if status >= 400:
            return _answer(request, status, conversation, None)
        await conversation.aclose()
        raise StatusError(500, "", f"invalid upgrade response: status code {status}")


class _Tunnel:
    """Carries bytes both ways until one end has no more."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    async def __call__(self, client: Duplex) -> None:
        from slipway.cluster.server.streams.tunnel import join

        backend = self._conversation.duplex
        try:
            if self._conversation.rest:
                await client.write(self._conversation.rest)
            await join(client, backend)
        finally:
            await self._conversation.aclose()


def _forwarded(request: Request, dropped: Iterable[str]) -> dict[str, str]:
    """The request's headers as the backend gets them: without what is said to the API server alone."""
    named = {name.strip().lower() for name in request.headers.get("connection", "").split(",")}
    without = {*dropped, *_OF_THE_API_SERVER, *(named if dropped else ())}
    headers = {
        name: value
        for name, value in request.headers.items()
        if name not in without and not name.startswith("impersonate-")
    }
    client = request.peer.address.rpartition(":")[0].strip("[]")
    if client:
        before = headers.get("x-forwarded-for")
        headers["x-forwarded-for"] = f"{before}, {client}" if before else client
    return headers


def _head(request: Request, target: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{request.method} {target} HTTP/1.1", f"Host: {request.headers.get('host', '')}"]
    lines += [f"{_canonical(name)}: {value}" for name, value in headers.items()]
    if request.body or request.method in {"POST", "PUT", "PATCH"}:
        lines.append(f"Content-Length: {len(request.body)}")
    return "\r\n".join([*lines, "", ""]).encode()


def _canonical(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))


def _answer(request: Request, status: int, conversation: Conversation, links: Links | None) -> Response:
    """The backend's answer; its body is passed on as it comes."""
    named = {
        part.strip().lower()
        for name, value in conversation.headers
        if name.lower() == "connection"
        for part in value.split(",")
    }
    response = Response(status, body=conversation)
    for name, value in conversation.headers:
        key = name.lower()
        if key in _HOP_BY_HOP or key in named or key == "date" or (links is not None and key in _CORS):
            continue
        if key == "location" and links is not None:
            value = links.turned(value)
        if key in response.headers or key == "cache-control":  # the API server has a Cache-Control of its own
            response.repeated.append((name, value))
        else:
            response.headers[key] = value
    return response


async def _turn_page(response: Response, conversation: Conversation, links: Links) -> None:
    """Turn the links of an HTML page that is short enough and not compressed; a redirect's is left alone."""
    media = response.headers.get("content-type", "").partition(";")[0].strip()
    if media != "text/html" or {"content-encoding", "location"} & response.headers.keys():
        return
    parts, size = [], 0
    async for chunk in conversation:
        parts.append(chunk)
        size += len(chunk)
        if size > PAGE_LIMIT:
            response.body = _Continued(parts, conversation)
            return
    await conversation.aclose()
    page = links.turned_page(b"".join(parts).decode("utf-8", "surrogateescape"))
    response.headers.pop("content-length", None)
    response.body = page.encode("utf-8", "surrogateescape")


class _Continued:
    """A body of which some was read already."""

    def __init__(self, parts: list[bytes], rest: Conversation) -> None:
        self._parts = deque(parts)
        self._rest = rest

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return self._parts.popleft() if self._parts else await anext(self._rest)

    async def aclose(self) -> None:
        await self._rest.aclose()


def _unreachable(why: str) -> StatusError:
    return StatusError(503, "ServiceUnavailable", f"error trying to reach service: {why}")
