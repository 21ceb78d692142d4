"""Where a proxied request goes: the address that `[scheme:]name[:port]` of a pod, service or node stands for.

Facts: the ResourceLocation functions of k8s.io/kubernetes 1.37 (pkg/registry/core/{pod,service,node}).
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from slipway.cluster.exchange import Duplex
from slipway.cluster.kubelet import Kubelet, StreamError
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.registry import Registry
from slipway.cluster.server.node_addresses import kubelet_address
from slipway.cluster.server.proxying.tls import TlsDuplex
from slipway.cluster.status import StatusError, bad_request, go_quote, not_found

Object = dict[str, Any]
DIAL_SECONDS = 30.0
_SERVICE_NAME = "kubernetes.io/service-name"
_KUBELET_PORT = "10250"
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Unreachable(Exception):
    """Nobody answers there; the text says why, as Go's dialer would."""


@dataclass(frozen=True, slots=True)
class Backend:
    """`dial` makes a connection to it. `node` is set when it is the kubelet of that node, which is not dialed."""

    scheme: str
    host: str  # address and port
    dial: Callable[[], Awaitable[Duplex]] | None
    node: str = ""


async def connected(backend: Backend) -> Duplex:
    """A connection to the backend, encrypted where it is asked to be; Unreachable."""
    assert backend.dial is not None
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            duplex = await backend.dial()
            if backend.scheme != "https":
                return duplex
            return await _encrypted(duplex, backend.host)
    except TimeoutError:
        why = f"dial tcp {backend.host}: i/o timeout"
    except StreamError as error:
        why = error.message
    except ssl.SSLError as error:
        why = f"tls: {error.reason or error}"
    except OSError as error:
        said = os.strerror(error.errno) if error.errno else str(error)
        why = f"dial tcp {backend.host}: connect: {said.lower()}"
    raise Unreachable(why)


async def _encrypted(duplex: Duplex, host: str) -> Duplex:
    # A real API server does not check a backend's certificate here either.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        encrypted = TlsDuplex(duplex, context, host.rpartition(":")[0].strip("[]"))
        await encrypted.handshake()
    except BaseException:
        await duplex.close()
        raise
    return encrypted


def split_name(name: str, what: str) -> tuple[str, str, str]:
    """Scheme, name and port of `[scheme:]name[:port]`, "" for what is not there; 400."""
    scheme, plain, port = "", name, ""
    parts = name.split(":")
    if len(parts) == 2:
        plain, port = parts
    elif len(parts) == 3:
        scheme, plain, port = parts
    if len(parts) > 3 or not plain or scheme not in {"", "http", "https"}:
        raise bad_request(f"invalid {what} request {go_quote(name)}")
    return scheme, plain, port


class Backends:
    """`kubelets` by node name: they know the way to their pods, whatever runs these."""

    def __init__(self, registry: Registry, kubelets: Mapping[str, Kubelet]) -> None:
        self._registry = registry
        self._kubelets = kubelets

    def of(self, call: Call) -> Backend:
        """The backend that the call's name stands for; StatusError when there is none."""
        match call.resource.plural:
            case "pods":
                return self._of_pod(call)
            case "services":
                return self._of_service(call)
        return self._of_node(call)

    def _of_pod(self, call: Call) -> Backend:
        scheme, name, port = split_name(call.name, "pod")
        pod = self._pod(call.namespace, name)
        if pod is None:
            raise not_found("pods", "", name)
        address = _address(pod)
        if not address:
            raise bad_request("address not allowed")
        return self._to_pod(pod, scheme, port or _first_port(pod))

    def _of_service(self, call: Call) -> Backend:
        scheme, name, port = split_name(call.name, "service")
        if _number(port) is not None:
            port = self._port_name(call.namespace, name, int(port))
        found = self._endpoints(call.namespace, name, port)
        if not found:
            raise _unavailable(f"no endpoints available for service {go_quote(name)}")
        pod, number = found[self._registry.randomness.randrange(len(found))]
        return self._to_pod(pod, scheme, str(number))

    def _port_name(self, namespace: str, name: str, number: int) -> str:
        service = self._registry.record("", "v1", "services", namespace, name)
        if service is None:
            raise not_found("services", "", name)
        for port in (service.value.get("spec") or {}).get("ports") or []:
            if port.get("port") == number:
                return str(port.get("name") or "")
        raise _unavailable(f"no service port {number} found for service {go_quote(name)}")

    def _endpoints(self, namespace: str, service: str, port_name: str) -> list[tuple[Object, int]]:
        """The pods behind that port of the service that take connections, and their port."""
        found = []
        for piece in self._registry.objects("discovery.k8s.io", "v1", "endpointslices", namespace):
            if (piece["metadata"].get("labels") or {}).get(_SERVICE_NAME) != service:
                continue
            ports = piece.get("ports") or []
            number = next((p.get("port") for p in ports if (p.get("name") or "") == port_name), None)
            if number is None:
                continue
            for endpoint in piece.get("endpoints") or []:
                pod = self._endpoints_pod(namespace, endpoint)
                if pod is not None and (endpoint.get("conditions") or {}).get("ready") is not False:
                    found.append((pod, int(number)))
        return found

    def _endpoints_pod(self, namespace: str, endpoint: Object) -> Object | None:
        """Only addresses that are really those of pods are connected to."""
        target = endpoint.get("targetRef") or {}
        if target.get("namespace") != namespace:
            return None
        pod = self._pod(namespace, str(target.get("name") or ""))
        addresses = endpoint.get("addresses") or [""]
        return pod if pod is not None and addresses[0] in _addresses(pod) else None

    def _pod(self, namespace: str, name: str) -> Object | None:
        record = self._registry.record("", "v1", "pods", namespace, name)
        return record.value if record is not None else None

    def _to_pod(self, pod: Object, scheme: str, port: str) -> Backend:
        host = f"{_address(pod)}:{port}" if port else _address(pod)
        node = (pod.get("spec") or {}).get("nodeName") or ""
        metadata = pod["metadata"]

        async def dial() -> Duplex:
            kubelet = self._kubelets.get(node)
            if kubelet is None:
                raise StreamError(
                    503, f'dial tcp {host}: node "{node}" has no kubelet that knows the way to it'
                )
            return await kubelet.reach_pod(metadata["namespace"], metadata["name"], _dialed(port, scheme))

        return Backend(scheme, host, dial)

    def _of_node(self, call: Call) -> Backend:
        scheme, name, port = split_name(call.name, "node")
        record = self._registry.record("", "v1", "nodes", "", name)
        if record is None:
            raise not_found("nodes", "", name)
        status = record.value.get("status") or {}
        address = kubelet_address(record.value)
        own = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
        kubelet_port = str(own.get("Port") or _KUBELET_PORT)
        if port in {"", kubelet_port}:
            if name not in self._kubelets:
                why = f"dial tcp {address}:{kubelet_port}: connect: connection refused"
                raise _unavailable(f"error trying to reach service: {why}")
            return Backend("https", f"{address}:{kubelet_port}", None, name)

        async def dial() -> Duplex:
            kubelet = self._kubelets.get(name)
            if kubelet is None:
                raise StreamError(503, f'dial tcp {address}:{port}: node "{name}" is not one of this cluster')
            return await kubelet.reach_node(_dialed(port, scheme))

        return Backend(scheme, f"{address}:{port}", dial)


def _addresses(pod: Object) -> list[str]:
    return [str(row.get("ip")) for row in (pod.get("status") or {}).get("podIPs") or []]


def _address(pod: Object) -> str:
    return next(iter(_addresses(pod)), "")


def _first_port(pod: Object) -> str:
    for container in (pod.get("spec") or {}).get("containers") or []:
        if container.get("ports"):
            return str(container["ports"][0]["containerPort"])
    return ""


def _number(port: str) -> int | None:
    try:
        return int(port)
    except ValueError:
        return None


def _dialed(port: str, scheme: str) -> int:
    """The port's number; the scheme's own when none is given. StreamError in the words of Go's dialer."""
    number = _number(port or _DEFAULT_PORTS[scheme or "http"])
    if number is None:
        raise StreamError(503, f"dial tcp: lookup tcp/{port}: unknown port")
    if not 0 < number < 65536:
        raise StreamError(503, f"dial tcp: address {number}: invalid port")
    return number


def _unavailable(message: str) -> StatusError:
    return StatusError(503, "ServiceUnavailable", message)
