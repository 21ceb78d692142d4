"""What was made in one cluster is made again in another, by a YAML file."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway.cluster import Cluster
from slipway.cluster.client.resources import CONFIG_MAPS, DEPLOYMENTS, JOBS, PODS, SERVICES, ApiResource
from slipway.cluster.environment.importing import DocumentError, read_documents

BOATS = ApiResource("docks.example.com", "v1", "boats", "Boat")
SAILS = ApiResource("docks.example.com", "v1", "sails", "Sail")
MADE = Path(__file__).with_name("made_by_users.yaml").read_text()


@pytest.fixture
def clusters() -> Iterator[tuple[Cluster, Cluster]]:
    with ExitStack() as stack:
        yield stack.enter_context(Cluster()), stack.enter_context(Cluster())


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as one:
        yield one


def until(found: Callable[[], Any], wanted: Callable[[Any], Any] = bool) -> Any:
    end = time.monotonic() + 60
    while not wanted(last := found()):
        assert time.monotonic() < end, last
        time.sleep(0.05)
    return last


def read(cluster: Cluster, resource: ApiResource, name: str, namespace: str = "docks") -> Any:
    return cluster.run(cluster.embedded.client().get(resource, name, namespace))


def names(cluster: Cluster, resource: ApiResource, namespace: str = "docks") -> list[str]:
    listed = cluster.run(cluster.embedded.client().list(resource, namespace))
    return [one["metadata"]["name"] for one in listed["items"]]


def without_uids(text: str) -> list[dict[str, Any]]:
    """Owners are named by uids, and these are of one cluster."""
    objects = copy.deepcopy(read_documents(text, "export"))
    for obj in objects:
        for owner in obj["metadata"].get("ownerReferences", []):
            del owner["uid"]
    return objects


def test_of_a_fresh_cluster_nothing_is_exported(cluster: Cluster) -> None:
    assert cluster.export_yaml() == ""


def test_the_second_cluster_s_export_is_the_first_one_s(clusters: tuple[Cluster, Cluster]) -> None:
    first, second = clusters
    done = first.import_yaml(MADE)
    assert (done.failures, done.updated) == ([], 0)
    until(lambda: read(first, DEPLOYMENTS, "quay"), lambda quay: quay["status"].get("readyReplicas") == 2)
    exported = first.export_yaml()
    assert second.import_yaml(exported).failures == []
    until(lambda: read(second, DEPLOYMENTS, "quay"), lambda quay: quay["status"].get("readyReplicas") == 2)
    assert without_uids(second.export_yaml()) == without_uids(exported)
    kinds = {obj["kind"] for obj in read_documents(exported, "export")}
    assert kinds == {
        obj["kind"] for obj in yaml.safe_load_all(MADE)
    }  # no ReplicaSet, Pod, Endpoints, Event, …


def test_owners_are_found_again_and_their_deletion_cascades(clusters: tuple[Cluster, Cluster]) -> None:
    first, second = clusters
    first.import_yaml(MADE)
    second.import_yaml(first.export_yaml())
    boat, sail = read(second, BOATS, "argo"), read(second, SAILS, "argo-sail")
    assert boat["metadata"]["uid"] != read(first, BOATS, "argo")["metadata"]["uid"]
    assert [owner["uid"] for owner in sail["metadata"]["ownerReferences"]] == [boat["metadata"]["uid"]]
    second.run(second.embedded.client().delete(BOATS, "argo", "docks"))
    until(lambda: names(second, SAILS), lambda sails: not sails)


def test_the_status_of_custom_objects_goes_along(clusters: tuple[Cluster, Cluster]) -> None:
    first, second = clusters
    first.import_yaml(MADE)
    assert read(first, BOATS, "argo")["status"] == {"crew": 50}
    second.import_yaml(first.export_yaml())
    assert read(second, BOATS, "argo")["status"] == {"crew": 50}


def test_addresses_are_of_the_cluster_and_headless_services_stay_headless(
    clusters: tuple[Cluster, Cluster],
) -> None:
    first, second = clusters
    first.import_yaml(MADE)
    exported = {
        obj["metadata"]["name"]: obj["spec"]
        for obj in read_documents(first.export_yaml("docks"), "export")
        if obj["kind"] == "Service"
    }
    assert "clusterIP" not in exported["quay"]
    assert exported["quay-pods"]["clusterIP"] == "None"
    second.import_yaml(first.export_yaml())
    assert read(second, SERVICES, "quay")["spec"]["clusterIP"]


def test_one_namespace_can_be_exported_alone(cluster: Cluster) -> None:
    cluster.import_yaml(MADE)
    cluster.import_yaml("{apiVersion: v1, kind: ConfigMap, metadata: {name: elsewhere}}")
    objects = read_documents(cluster.export_yaml("docks"), "export")
    assert {obj["metadata"].get("namespace") for obj in objects} == {None, "docks"}
    assert [obj["kind"] for obj in objects if "namespace" not in obj["metadata"]] == ["Namespace"]


def test_what_has_finished_does_not_run_again(cluster: Cluster) -> None:
    job = """
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  suspend: true
  template:
    spec: {restartPolicy: Never, containers: [{name: one, image: busybox, command: ["true"]}]}
"""
    cluster.import_yaml(job)
    client = cluster.embedded.client()
    [exported] = read_documents(cluster.export_yaml(), "export")
    assert "selector" not in exported["spec"]  # it names the uid of the job
    cluster.run(client.patch(JOBS, "once", "default", {"status": finished()}, subresource="status"))
    until(lambda: cluster.export_yaml(), lambda text: text == "")


def finished() -> dict[str, Any]:
    at = "2026-01-01T00:00:00Z"
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": at} for kind in ("FailureTarget", "Failed")
    ]
    return {"startTime": at, "conditions": conditions}


def test_importing_twice_makes_nothing_twice(cluster: Cluster) -> None:
    first = cluster.import_yaml(MADE)
    again = cluster.import_yaml(MADE)
    assert again.failures == []
    assert (again.created, again.updated) == (0, first.created)


def test_what_is_refused_is_named_and_the_rest_is_made(cluster: Cluster) -> None:
    text = """
{apiVersion: v1, kind: ConfigMap, metadata: {name: Not_A_Name}}
---
{apiVersion: nowhere.example.com/v1, kind: Ghost, metadata: {name: ghost}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: fine}}
"""
    done = cluster.import_yaml(text)
    assert [failure.partition(":")[0] for failure in done.failures] == ["ConfigMap Not_A_Name", "Ghost ghost"]
    assert "fine" in names(cluster, CONFIG_MAPS, "default")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("[1, 2]", "text, document 2: is list, not an object with apiVersion and kind"),
        ("{apiVersion: v1, metadata: {name: a}}", "text, document 2: kind is None; it must be a text"),
        ("{apiVersion: v1, kind: Pod, metadata: {}}", "text, document 2: metadata.name is None"),
        ("{apiVersion: v1", "text: not YAML"),
    ],
)
def test_nothing_is_made_when_a_document_is_no_object(cluster: Cluster, document: str, says: str) -> None:
    with pytest.raises(DocumentError, match=says):
        cluster.import_yaml(f"{{apiVersion: v1, kind: Pod, metadata: {{name: early}}}}\n---\n{document}")
    assert names(cluster, PODS, "default") == []
