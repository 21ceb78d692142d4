"""kubeconfig documents: how clients find and enter a cluster. ~/.kube/config is never touched."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slipway.cluster.access.certificates import KeyPair


def kubeconfig(
    name: str,
    server: str,
    *,
    ca: bytes | None = None,
    client: KeyPair | None = None,
    token: str = "",
    namespace: str = "default",
) -> dict[str, Any]:
    """A kubeconfig with one context. Certificates are embedded, so that the file alone is enough."""
    cluster: dict[str, Any] = {"server": server}
    if ca is not None:
        cluster["certificate-authority-data"] = _encode(ca)
    user: dict[str, Any] = {}
    if client is not None:
        user["client-certificate-data"] = _encode(client.certificate)
        user["client-key-data"] = _encode(client.key)
    elif token:
        user["token"] = token
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": f"{name}-admin", "user": user}],
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": f"{name}-admin", "namespace": namespace}}
        ],
        "current-context": name,
    }


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def write_private(path: Path, content: dict[str, Any]) -> None:
    """Write as JSON (which is YAML) with mode 0600, in one step: readers see the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    temporary.replace(path)
