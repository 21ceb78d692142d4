#!/usr/bin/env python3
"""Write down what a fresh kube-apiserver creates by itself: default RBAC policy and priority classes.

    scripts/bootstrap_policy.py https://127.0.0.1:6443 TOKEN

The facts go to `src/slipway/cluster/access/bootstrap_policy.json`, an object a line, as they are stored: with their
managed fields, without ids, revisions and times.
"""

from __future__ import annotations

import json
import ssl
import sys
import urllib.request
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "src/slipway/cluster/access/bootstrap_policy.json"
KINDS = {
    "rbac.authorization.k8s.io/v1": ("clusterroles", "clusterrolebindings", "roles", "rolebindings"),
    "scheduling.k8s.io/v1": ("priorityclasses",),
}


def fetch(server: str, token: str, path: str) -> Any:
    request = urllib.request.Request(server + path, headers={"Authorization": f"Bearer {token}"})
    context = ssl._create_unverified_context()
    with urllib.request.urlopen(request, context=context) as answer:
        return json.loads(answer.read())


def is_default(obj: Any) -> bool:
    """Made by the server itself and not by a user of it."""
    labels = obj["metadata"].get("labels") or {}
    return "kubernetes.io/bootstrapping" in labels or obj["metadata"]["name"].startswith("system-")


def stripped(api_version: str, kind: str, obj: Any) -> Any:
    metadata = {
        k: v for k, v in obj["metadata"].items() if k not in {"uid", "resourceVersion", "creationTimestamp"}
    }
    for entry in metadata["managedFields"]:
        del entry["time"]
    return {"apiVersion": api_version, "kind": kind, **obj, "metadata": metadata}


def main() -> None:
    server, token = sys.argv[1:]
    version = fetch(server, token, "/version")["gitVersion"]
    lines = []
    for api_version, plurals in KINDS.items():
        for plural in plurals:
            found = fetch(server, token, f"/apis/{api_version}/{plural}")
            kind = found["kind"].removesuffix("List")
            lines += [
                json.dumps(stripped(api_version, kind, obj)) for obj in found["items"] if is_default(obj)
            ]
    source = f"a fresh kube-apiserver {version} (plugin/pkg/auth/authorizer/rbac/bootstrappolicy), Apache-2.0"
    TARGET.write_text(f'{{"source": {json.dumps(source)}, "objects": [\n' + ",\n".join(lines) + "\n]}\n")
    print(f"{len(lines)} objects")


if __name__ == "__main__":
    main()
