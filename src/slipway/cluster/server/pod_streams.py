"""log, exec, attach and portforward of pods: the API server's checks, then the kubelet of the pod's node.

Wording: k8s.io/kubernetes pkg/registry/core/pod (facts only).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from slipway.cluster.access.authorization import Attributes, Authorizer
from slipway.cluster.access.usage import Usage
from slipway.cluster.exchange import Duplex, Request, Response
from slipway.cluster.kubelet import Kubelet, LogOptions, Session, StreamError
from slipway.cluster.registry import reading
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.registry import Registry
from slipway.cluster.server.api_options import flag, integer
from slipway.cluster.server.connecting import admit_connection
from slipway.cluster.server.node_addresses import kubelet_address
from slipway.cluster.server.printers.durations import parse_timestamp
from slipway.cluster.status import (
    FieldError,
    StatusError,
    bad_request,
    forbidden,
    internal_error,
    invalid,
    method_not_allowed,
    not_found,
)

if TYPE_CHECKING:
    from slipway.cluster.server.streams.remote_command import StreamOptions

Object = dict[str, Any]
Handler = Callable[[Call, Request], Awaitable[Response]]
TURNS = 50  # of the event loop in which a kubelet may still refuse before the answer begins


class PodStreams:
    """`kubelets` by node name, as they are now."""

    def __init__(
        self, registry: Registry, kubelets: Mapping[str, Kubelet], authorizer: Authorizer, usage: Usage
    ) -> None:
        self._registry = registry
        self._kubelets = kubelets
        self._authorizer = authorizer
        self._usage = usage

    def handlers(self) -> dict[tuple[str, str], Handler]:
        """By (qualified plural, sub-resource), for the API."""
        return {
            ("pods", "log"): self.log,
            ("pods", "exec"): self.exec,
            ("pods", "attach"): self.attach,
            ("pods", "portforward"): self.port_forward,
        }

    async def log(self, call: Call, request: Request) -> Response:
        if call.verb != "get":
            raise method_not_allowed()
        wanted, options = log_options(request.query, call.name, self._registry.clock.now())
        pod = self._pod(call)
        container = container_of(pod, wanted)
        node = (pod.get("spec") or {}).get("nodeName")
        headers = {"content-type": "text/plain"}
        if not node:
            return Response(200, headers)
        chunks = self._kubelet(node).logs(call.namespace, call.name, container, options)
        try:
            body = await _begun(chunks)
        except StreamError as error:
            raise _refused(error) from None
        if "upgrade" in request.headers:
            from slipway.cluster.server.streams.reading import in_messages
            from slipway.cluster.server.streams.websocket import is_websocket

            if is_websocket(request):
                return in_messages(request, body)
        return Response(200, headers, body)

    async def exec(self, call: Call, request: Request) -> Response:
        kubelet, pod = await self._streaming(call, stream_options("PodExecOptions", request.query))

        async def start(options: StreamOptions) -> Session:
            if not options.command:
                raise bad_request("you must specify at least one command for the container")
            container = container_of(pod, options.container)
            return await kubelet.exec(
                call.namespace,
                call.name,
                container,
                options.command,
                stdin=options.stdin,
                tty=options.tty,
            )

        return await _remote_command(request, start)

    async def attach(self, call: Call, request: Request) -> Response:
        kubelet, pod = await self._streaming(call, stream_options("PodAttachOptions", request.query))

        async def start(options: StreamOptions) -> Session:
            container = container_of(pod, options.container)
            return await kubelet.attach(
                call.namespace, call.name, container, stdin=options.stdin, tty=options.tty
            )

        return await _remote_command(request, start)

    async def port_forward(self, call: Call, request: Request) -> Response:
        kubelet, _ = await self._streaming(call, stream_options("PodPortForwardOptions", request.query))

        async def connect(port: int) -> Duplex:
            return await kubelet.port_forward(call.namespace, call.name, port)

        # Imported here, and in `_remote_command`: until somebody streams, WebSocket and SPDY are not needed.
        from slipway.cluster.server.streams.port_forward import port_forward

        return await port_forward(request, connect)

    async def _streaming(self, call: Call, options: Object) -> tuple[Kubelet, Object]:
        """The kubelet and the pod, once admission and authorization agree to what the options ask for."""
        if call.verb not in {"get", "create"}:
            raise method_not_allowed()
        await admit_connection(self._registry, call, options)
        # A WebSocket begins with a GET; what follows needs the permission to create all the same (since 1.35).
        create = Attributes("create", "", "v1", "pods", call.subresource, call.namespace, call.name)
        if call.verb == "get":
            if not self._authorizer.decide(call.identity, create).allowed:
                raise forbidden("pods", "", call.name, "")
            self._usage.note(call.identity, create)
        pod = self._pod(call)
        node = (pod.get("spec") or {}).get("nodeName")
        if not node:
            raise bad_request(f"pod {call.name} does not have a host assigned")
        return self._kubelet(node), pod

    def _pod(self, call: Call) -> Object:
        definition = self._registry.definitions.of(call.resource)
        return reading.get(self._registry.store, definition, call).value

    def _kubelet(self, node: str) -> Kubelet:
        kubelet = self._kubelets.get(node)
        if kubelet is None:
            record = self._registry.record("", "v1", "nodes", "", node)
            if record is None:
                raise not_found("pods", "", node)  # the node's name, and of a pod: so a real server says it
            kubelet_address(record.value)
            raise internal_error(f'error dialing backend: node "{node}" has no kubelet that answers')
        return kubelet


async def _remote_command(request: Request, start: Callable[[StreamOptions], Awaitable[Session]]) -> Response:
    from slipway.cluster.server.streams.remote_command import remote_command

    return await remote_command(request, start)


def container_of(pod: Object, wanted: str) -> str:
    """The container asked for, or the only one; StatusError 400 when it is not clear which."""
    spec = pod.get("spec") or {}
    name = pod["metadata"]["name"]
    fields = ("initContainers", "containers", "ephemeralContainers")
    names = [container["name"] for field in fields for container in spec.get(field) or []]
    if wanted:
        if wanted not in names:
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    main = spec.get("containers") or []
    if len(main) == 1:
        return str(main[0]["name"])
    choice = f", choose one of: [{' '.join(names)}]" if main else ""
    raise bad_request(f"a container name must be specified for pod {name}{choice}")


def stream_options(kind: str, query: str) -> Object:
    """The options of a stream as admission sees them."""
    values = parse_qs(query, keep_blank_values=True)
    options: Object = {"kind": kind, "apiVersion": "v1"}
    for name in ("stdin", "stdout", "stderr", "tty"):
        if flag(values, name):
            options[name] = True
    if container := values.get("container", [""])[0]:
        options["container"] = container
    if values.get("command"):
        options["command"] = values["command"]
    ports = [part for value in values.get("ports", ()) for part in value.split(",") if part.isdigit()]
    return {**options, "ports": [int(port) for port in ports]} if ports else options


def log_options(query: str, name: str, now: float) -> tuple[str, LogOptions]:
    """PodLogOptions of a query: the container asked for and the rest. 400 and 422 for what they cannot be."""
    values = parse_qs(query, keep_blank_values=True)
    tail, limit, seconds = (
        integer(values[field][0]) if field in values else None
        for field in ("tailLines", "limitBytes", "sinceSeconds")
    )
    time = values.get("sinceTime", [None])[0]
    errors = []
    if tail is not None and tail < 0:
        errors.append(
            FieldError("FieldValueInvalid", "tailLines", tail, "must be greater than or equal to 0")
        )
    if limit is not None and limit < 1:
        errors.append(FieldError("FieldValueInvalid", "limitBytes", limit, "must be greater than 0"))
    if seconds is not None and time is not None:
        text = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        errors.append(FieldError("FieldValueForbidden", "", detail=text))
    elif seconds is not None and seconds < 1:
        errors.append(FieldError("FieldValueInvalid", "sinceSeconds", seconds, "must be greater than 0"))
    if errors:
        raise invalid("PodLogOptions", "", name, errors)
    since = parse_timestamp(time) if time else None
    if time and since is None:
        raise bad_request(f'parsing time "{time}" as "2006-01-02T15:04:05Z07:00": cannot parse "{time}"')
    return values.get("container", [""])[0], LogOptions(
        follow=flag(values, "follow"),
        previous=flag(values, "previous"),
        timestamps=flag(values, "timestamps"),
        since=now - seconds if seconds is not None else since,
        tail_lines=tail,
        limit_bytes=limit,
    )


async def _begun(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same chunks; StreamError here and now when the kubelet refuses at once.

    A log that is followed may be silent for long: the answer's head must not wait for its first line.
    """
    first = asyncio.ensure_future(anext(chunks, b""))
    for _ in range(TURNS):
        if first.done():
            break
        await asyncio.sleep(0)
    if first.done():
        first.result()
    return _continued(first, chunks)


async def _continued(first: asyncio.Future[bytes], chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        yield await first
        async for chunk in chunks:
            yield chunk
    except StreamError as error:
        # The head is out: what is wrong can only be said in the log's own place, as the API server does.
        yield error.message.encode()
    finally:
        first.cancel()
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


def _refused(error: StreamError) -> StatusError:
    if error.status == 400:
        return bad_request(error.message)
    if error.status == 404:
        return StatusError(404, "NotFound", error.message, {})
    return internal_error(error.message)
