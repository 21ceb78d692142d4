"""What a cluster has from the start is what a 1.37 server creates, in the form in which it would be stored."""

from __future__ import annotations

import copy
import json
from importlib.resources import files
from typing import Any

from slipway.cluster import access
from slipway.cluster.client.resources import NAMESPACES
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Identity
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.creating import create

DATA: list[dict[str, Any]] = json.loads((files(access) / "bootstrap_policy.json").read_text())["objects"]
OPTIONS = ClusterOptions(nodes=0, listen=False, tls=False, controllers=False, scheduler=False)


def comparable(obj: dict[str, Any]) -> dict[str, Any]:
    """Without what changes from one creation to the next. Go writes absent rules as null."""
    ignored = {"name", "uid", "resourceVersion", "creationTimestamp"}
    metadata = {key: value for key, value in obj["metadata"].items() if key not in ignored}
    metadata["managedFields"] = [
        {key: value for key, value in entry.items() if key != "time"} for entry in metadata["managedFields"]
    ]
    return {**obj, "rules": obj.get("rules") or [], "metadata": metadata}


async def test_it_is_stored_as_if_it_had_been_created() -> None:
    async with EmbeddedCluster(OPTIONS) as cluster:
        registry = cluster.plane.registry
        for wanted in DATA:
            group, _, version = wanted["apiVersion"].rpartition("/")
            resource = registry.definitions.catalogue.by_kind(group, version, wanted["kind"])
            assert resource is not None
            body = copy.deepcopy(wanted)
            del body["metadata"]["managedFields"]
            body["metadata"]["name"] = f"copy-of-{body['metadata']['name']}".replace("system-", "")
            body["value"] = min(body["value"], 1000000000) if "value" in body else None
            body = {key: value for key, value in body.items() if value is not None}
            identity = Identity("system:apiserver", ("system:masters",))
            namespace = body["metadata"].get("namespace", "")
            call = Call("create", resource, namespace, identity=identity, user_agent="kube-apiserver/v1.37.0")
            made = (await create(registry, call, body)).record.value
            assert comparable(made) == comparable(
                {**wanted, **({"value": made["value"]} if "value" in made else {})}
            )


async def test_it_is_there_and_the_admins_own_roles_are_upstreams() -> None:
    async with EmbeddedCluster(OPTIONS) as cluster:
        registry = cluster.plane.registry
        for wanted in DATA:
            group, _, version = wanted["apiVersion"].rpartition("/")
            resource = registry.definitions.catalogue.by_kind(group, version, wanted["kind"])
            assert resource is not None
            metadata = wanted["metadata"]
            record = registry.record(
                group, version, resource.plural, metadata.get("namespace", ""), metadata["name"]
            )
            assert record is not None
            assert comparable(record.value) == comparable(wanted)
            assert record.value["metadata"]["resourceVersion"] == str(record.revision)


async def test_every_cluster_of_a_process_begins_with_the_same_but_for_its_own_uids() -> None:
    async with EmbeddedCluster(OPTIONS) as first, EmbeddedCluster(OPTIONS) as second:
        one, other = (stored(cluster) for cluster in (first, second))
        assert one.keys() == other.keys()
        assert len(one) > len(DATA) + 10
        for key, obj in one.items():
            assert comparable(obj) == comparable(other[key])
            assert obj["metadata"]["uid"] != other[key]["metadata"]["uid"]
            assert obj["metadata"]["resourceVersion"] == other[key]["metadata"]["resourceVersion"]


async def test_what_one_cluster_changes_of_it_another_does_not_have() -> None:
    body = {"metadata": {"labels": {"seen": "first"}}}
    async with EmbeddedCluster(OPTIONS) as first:
        await first.client().patch(NAMESPACES, "default", "", body)
        async with EmbeddedCluster(OPTIONS) as second:
            namespace = await second.client().get(NAMESPACES, "default")
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "default"}


def stored(cluster: EmbeddedCluster) -> dict[tuple[str, str], dict[str, Any]]:
    store = cluster.plane.store
    return {(name, record.key): record.value for name in store.names() for record in store.scan(name).records}
