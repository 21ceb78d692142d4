"""Children of an object: whose they are, how they are called, and that they leave with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slipway.cluster.environment.test_cluster import TestCluster


def test_adopted_children_run_and_leave_with_their_parent(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("family") as operator:
        samples("parent", annotations={"case": "adopt"}, labels={"kin": "parent"})
        done = cluster.wait("samples", "parent", lambda obj: "adopt" in obj.get("status", {}))
        made = done["status"]["adopt"]["made"].split(",")
        assert made[0] == "parent"
        assert made[1] != made[2]
        assert made[1].startswith("parent-")
        assert made[3] == "of-its-own-name"
        deployment = cluster.wait("deployments", "parent")
        owner = deployment["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("Sample", done["metadata"]["uid"], True)
        assert deployment["spec"]["template"]["metadata"]["labels"] == {"app": "parent", "kin": "parent"}
        operator.wait("ready", replicas=1)
        operator.wait("pod", phase="Running")
        cluster.delete("samples", "parent")
        cluster.wait_gone("deployments", "parent")
        for name in made[1:]:
            cluster.wait_gone("configmaps", name)


def test_owner_references_labels_and_names_set_one_by_one(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("family"):
        samples("parent", annotations={"case": "by hand"})
        second = cluster.wait("configmaps", "second")
        first = cluster.wait("configmaps", "first")
        assert first["metadata"]["labels"] == {"tier": "high"}
        assert second["metadata"]["labels"] == {"tier": "low"}
        assert first["metadata"]["ownerReferences"][0]["controller"] is False
        assert "ownerReferences" not in second["metadata"]
        cluster.delete("samples", "parent")
        cluster.wait_gone("configmaps", "first")
        assert cluster.get("configmaps", "second") is not None
