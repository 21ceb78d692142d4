"""Which objects a handler is called for: names of resources, filters on metadata, fields and changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slipway.cluster.environment.test_cluster import TestCluster

LAST_HANDLED = "kopf.zalando.org/last-handled-configuration"


def test_every_way_of_naming_a_resource_finds_it(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    zone = {"apiVersion": "conformance.example.com/v1", "kind": "Zone", "metadata": {"name": "a-zone"}}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": "nginx"}]},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    }
    with run("selection", "--standalone", "-A") as operator:
        samples("one", {"size": 3}, labels={"shade": "red"})
        cluster.apply(zone, settings, deployment)
        names = {
            "group, version, plural", "group/version, plural", "group, plural", "plural.group",
            "plural.version.group", "plural", "singular", "kind", "short name", "kind=", "singular=", "shortcut=",
            "category", "everything in a group", "everything", "callable", "callable of an older version",
        }  # fmt: skip
        for name in names:
            operator.wait("naming", by=name, name="one")
        assert operator.wait("naming", by="callable of an older version")["version"] == "v1beta1"
        operator.wait("naming", by="cluster-scoped", name="a-zone")
        for name in ("core v1", "v1", "built-in short name"):
            operator.wait("naming", by=name, name="settings")
        operator.wait("naming", by="built-in with a group", name="web")
        assert {note["by"] for note in operator.notes("naming", name="one")} == names


def test_filters_on_creation_and_on_changes(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("selection") as operator:
        samples("one", {"size": 3}, labels={"shade": "red"}, annotations={"mark": "yes"})
        cluster.wait("samples", "one", lambda obj: LAST_HANDLED in obj["metadata"].get("annotations", {}))
        assert {note["by"] for note in operator.notes("filter")} == {
            "label value", "label present", "label callback", "annotation value", "annotation all",
            "field present", "field absent", "field value", "field callback", "when", "when any", "when none",
        }  # fmt: skip

        def changed_by(spec: dict[str, Any], last: str) -> set[str]:
            before = len(operator.notes("change"))
            cluster.patch("samples", "one", {"spec": spec})
            cluster.wait(
                "samples",
                "one",
                lambda obj: last in obj["metadata"]["annotations"][LAST_HANDLED].replace(" ", ""),
            )
            return {note["by"] for note in operator.notes("change")[before:]}

        assert changed_by({"size": 4}, '"size":4') == {"old and new", "new", "old", "value"}
        assert changed_by({"size": None}, '"spec":{}') == {"removed"}
        assert changed_by({"size": 6}, '"size":6') == {"added"}
