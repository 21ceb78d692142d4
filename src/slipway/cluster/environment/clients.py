"""The client libraries of others, set up for one cluster: nothing is read from or written to ~/.kube.

None of them is a dependency; each is imported when it is asked for. A cluster is anything with a kubeconfig: a
`Cluster`, an `EmbeddedCluster`, the `cluster` fixture of a test, or the path of a file.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import yaml

from slipway.cluster.environment.embedded import ClusterError

if TYPE_CHECKING:
    import kopf
    import kr8s as kr8s_library
    import kubernetes.client as official
    import kubernetes_asyncio.client as official_asyncio
    import lightkube as lightkube_library


class HasKubeconfig(Protocol):
    @property
    def kubeconfig(self) -> Path | Callable[[], dict[str, Any]]: ...


AnyCluster = HasKubeconfig | Path


def document(cluster: AnyCluster, namespace: str = "") -> dict[str, Any]:
    """The cluster's kubeconfig as an object; `namespace` becomes its default one."""
    source = cluster if isinstance(cluster, Path) else cluster.kubeconfig
    found: dict[str, Any] = yaml.safe_load(source.read_text()) if isinstance(source, Path) else source()
    if namespace:
        _current(found, "contexts", "context", found["current-context"])["namespace"] = namespace
    return found


def kopf_login(cluster: AnyCluster) -> Callable[..., kopf.ConnectionInfo]:
    """A login handler, for an operator that runs inside the test: `kopf.on.login(registry=…)(kopf_login(cluster))`."""
    library = _library("kopf", "kopf")
    found = document(cluster)
    context = _current(found, "contexts", "context", found["current-context"])
    server = _current(found, "clusters", "cluster", context["cluster"])
    user = _current(found, "users", "user", context["user"])

    def login(**_: Any) -> kopf.ConnectionInfo:
        connection: kopf.ConnectionInfo = library.ConnectionInfo(
            server=server["server"],
            ca_data=server.get("certificate-authority-data"),
            certificate_data=user.get("client-certificate-data"),
            private_key_data=user.get("client-key-data"),
            token=user.get("token"),
            default_namespace=context.get("namespace"),
        )
        return connection

    return login


def kr8s(cluster: AnyCluster, namespace: str = "") -> kr8s_library.Api:
    """kr8s's blocking client, to be given to its objects as `api`."""
    found: kr8s_library.Api = _library("kr8s", "kr8s").api(kubeconfig=document(cluster, namespace))
    return found


async def kr8s_asyncio(cluster: AnyCluster, namespace: str = "") -> kr8s_library.asyncio.Api:
    """kr8s's client for the running event loop."""
    library = _library("kr8s.asyncio", "kr8s")
    found: kr8s_library.asyncio.Api = await library.api(kubeconfig=document(cluster, namespace))
    return found


def kubernetes(cluster: AnyCluster) -> official.ApiClient:
    """The official client; use as a context manager and give it to the API classes."""
    library = _library("kubernetes.config", "kubernetes")
    found: official.ApiClient = library.new_client_from_config_dict(document(cluster), persist_config=False)
    return found


async def kubernetes_asyncio(cluster: AnyCluster) -> official_asyncio.ApiClient:
    """The official client's asynchronous sister; use with `async with` and give it to the API classes."""
    library = _library("kubernetes_asyncio.config", "kubernetes_asyncio")
    found: official_asyncio.ApiClient = await library.new_client_from_config_dict(document(cluster))
    return found


def lightkube(cluster: AnyCluster, namespace: str = "") -> lightkube_library.Client:
    """lightkube's blocking client."""
    found: lightkube_library.Client = _library("lightkube", "lightkube").Client(
        _lightkube(cluster, namespace)
    )
    return found


def lightkube_asyncio(cluster: AnyCluster, namespace: str = "") -> lightkube_library.AsyncClient:
    """lightkube's client for the running event loop."""
    library = _library("lightkube", "lightkube")
    found: lightkube_library.AsyncClient = library.AsyncClient(_lightkube(cluster, namespace))
    return found


def _lightkube(cluster: AnyCluster, namespace: str) -> Any:
    return _library("lightkube", "lightkube").KubeConfig.from_dict(document(cluster, namespace))


def _current(found: dict[str, Any], section: str, part: str, name: str) -> dict[str, Any]:
    for entry in found.get(section) or []:
        if entry["name"] == name:
            inner: dict[str, Any] = entry[part]
            return inner
    raise ClusterError(f"the kubeconfig names {part} {name!r}, but {section} has no such entry")


def _library(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ClusterError(f"{package} is not installed here ({error}); install it beside slipway") from None
