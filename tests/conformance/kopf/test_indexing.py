"""What an operator keeps in memory: indices, memos; and what it says of itself at its liveness endpoint."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Callable
from typing import Any

from slipway.cluster.environment.test_cluster import TestCluster

LAST_HANDLED = "kopf.zalando.org/last-handled-configuration"


def settings(name: str, owner: str, size: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"index": "yes"}}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"owner": owner, "size": size},
    }


def test_indices_follow_the_objects_and_memos_keep_what_handlers_put_there(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    cluster.apply(settings("a", "ada", "1"), settings("b", "ada", "20"))
    with run("indexing") as operator:
        operator.wait(
            "index", by_owner={"ada": ["a", "b"]}, names=["a", "b"], big=[["ada", "big"]], sizes=[1, 20]
        )
        cluster.apply(settings("c", "bob", "no number"))
        operator.wait("index", by_owner={"ada": ["a", "b"], "bob": ["c"]}, sizes=[1, 20])
        cluster.patch("configmaps", "b", {"data": {"owner": "bob"}})
        operator.wait("index", by_owner={"ada": ["a"], "bob": ["b", "c"]}, big=[["bob", "big"]])
        samples("one", {"owner": "bob", "size": 5})
        done = cluster.wait("samples", "one", lambda obj: "remember" in obj.get("status", {}))
        assert done["status"]["remember"] == {"owned": ["b", "c"]}
        cluster.patch("configmaps", "c", {"metadata": {"labels": {"index": None}}})
        cluster.delete("configmaps", "a")
        cluster.wait_gone("configmaps", "a")
        cluster.patch("configmaps", "b", {"data": {"size": "21"}})
        operator.wait("index", by_owner={"bob": ["b"]}, names=["b"], sizes=[21])
        cluster.wait("samples", "one", lambda obj: LAST_HANDLED in obj["metadata"].get("annotations", {}))
        cluster.patch("samples", "one", {"spec": {"size": 6}})
        assert operator.wait("memo", started="once")["first"] == 5


def test_the_liveness_endpoint_answers_what_the_probes_return(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    cluster.apply(settings("a", "ada", "1"))
    liveness = f"--liveness=http://127.0.0.1:{port}/healthz"
    with run("indexing", "--standalone", "-n", cluster.namespace, liveness) as operator:
        operator.wait("index", names=["a"])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            assert json.load(answer) == {"indexed": 1, "started": "once"}
