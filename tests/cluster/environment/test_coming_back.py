"""A cluster with a state file comes back as the same cluster: credentials, Services and their addresses."""

from __future__ import annotations

import asyncio
import datetime
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster import ClusterError, ClusterOptions, EmbeddedCluster
from slipway.cluster.client.resources import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SERVICES,
)
from slipway.cluster.environment.cluster_identity import ClusterIdentity, IdentityError

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def options(state: Path, **others: Any) -> ClusterOptions:
    return ClusterOptions(name="back", state=state, runtime="process", data=state.parent / "data", **others)


async def test_services_keep_their_addresses_and_credentials_stay_valid(tmp_path: Path) -> None:
    state = tmp_path / "state"
    ports = [{"port": 80}]
    async with EmbeddedCluster(options(state)) as cluster:
        made = await cluster.client().create(
            SERVICES, {"metadata": {"name": "web", "namespace": "default"}, "spec": {"ports": ports}}
        )
        before = cluster.ca, cluster.options.service_range, cluster.options.pod_range
    async with EmbeddedCluster(options(state)) as cluster:
        assert (cluster.ca, cluster.options.service_range, cluster.options.pod_range) == before
        web = await cluster.client().get(SERVICES, "web", "default")
        assert web["spec"]["clusterIP"] == made["spec"]["clusterIP"]


async def test_what_pods_wrote_to_claims_stays_beside_the_state(tmp_path: Path) -> None:
    state, folder = tmp_path / "state", tmp_path / "data"

    async def until(check: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(60):
            while True:
                if await check():
                    return
                await asyncio.sleep(0.02)

    async def run(cluster: EmbeddedCluster, name: str) -> str:
        client = cluster.client()

        async def is_over() -> bool:
            return (await client.get(PODS, name, "default"))["status"]["phase"] == "Succeeded"

        container = {"name": "c", "image": "busybox", "command": ["true"]}
        volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "kept"}}]
        spec = {"restartPolicy": "Never", "containers": [container], "volumes": volumes}
        await client.create(PODS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
        await until(is_over)
        (volume,) = (await client.list(PERSISTENT_VOLUMES))["items"]
        return str(volume["spec"]["hostPath"]["path"])

    async with EmbeddedCluster(options(state)) as cluster:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
        claim = {"metadata": {"name": "kept", "namespace": "default"}, "spec": spec}
        await cluster.client().create(PERSISTENT_VOLUME_CLAIMS, claim)
        place = Path(await run(cluster, "writer"))
        (place / "word").write_text("kept")
    assert place.is_relative_to(tmp_path / "state.claims")
    shutil.rmtree(folder)  # as `slipway down` does
    async with EmbeddedCluster(options(state)) as cluster:
        assert await run(cluster, "reader") == str(place)
        assert (place / "word").read_text() == "kept"
        await cluster.client().delete(PERSISTENT_VOLUME_CLAIMS, "kept", "default")
        for name in ("writer", "reader"):
            await cluster.client().delete(PODS, name, "default")

        async def is_gone() -> bool:
            return not place.exists()

        await until(is_gone)


async def test_another_range_for_services_that_have_addresses_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with EmbeddedCluster(options(state, nodes=0)):
        pass
    with pytest.raises(ClusterError, match=r"have addresses in .*; start it without --service-range"):
        await EmbeddedCluster(options(state, service_range="10.77.0.0/16")).start()


async def test_a_cluster_whose_addresses_are_taken_says_so(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with EmbeddedCluster(options(state)):
        pass
    copy = tmp_path / "copy"
    for path in (state, Path(f"{state}.identity.json")):
        (tmp_path / path.name.replace("state", "copy")).write_bytes(path.read_bytes())
    async with EmbeddedCluster(options(state)):
        with pytest.raises(ClusterError, match="copy cannot have its addresses back: --pod-range"):
            await EmbeddedCluster(options(copy)).start()


def test_who_is_first_on_a_state_file_gives_it_its_identity(tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = ClusterIdentity.of(state, NOW)
    assert ClusterIdentity.of(state, NOW) == first
    kept = first.as_started(state, "shop", "10.1.0.0/16", "10.2.0.0/16")
    assert ClusterIdentity.of(state, NOW) == kept
    assert (tmp_path / "state.identity.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["state.identity.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"token_key": 5}', '{"colour": "red"}'])
def test_an_identity_that_cannot_be_read_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.identity.json").write_text(text)
    with pytest.raises(IdentityError, match=r"state\.identity\.json: cannot be read .* remove it"):
        ClusterIdentity.of(tmp_path / "state", NOW)


async def names_of(cluster: EmbeddedCluster, resource: Any) -> list[str]:
    return sorted(item["metadata"]["name"] for item in (await cluster.client().list(resource))["items"])


async def test_nodes_keep_their_names_under_another_name_of_the_cluster(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with EmbeddedCluster(options(state)) as cluster:
        pod = {"containers": [{"name": "c", "image": "busybox", "command": ["sleep", "1000"]}]}
        await cluster.client().create(
            PODS,
            {"metadata": {"name": "kept", "namespace": "default"}, "spec": {**pod, "nodeName": "back-1"}},
        )
    other = ClusterOptions(name="other", state=state, runtime="process", data=tmp_path / "data")
    async with EmbeddedCluster(other) as cluster:
        assert await names_of(cluster, NODES) == ["back-1"]
        async with asyncio.timeout(60):
            while True:
                kept = await cluster.client().get(PODS, "kept", "default")
                if kept["status"].get("phase") == "Running":
                    break
                await asyncio.sleep(0.02)


async def test_nodes_that_there_are_no_more_go_with_their_pods(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with EmbeddedCluster(options(state, nodes=3)) as cluster:
        client = cluster.client()
        for name, node in (("gone", "back-2"), ("kept", "back-1")):
            spec = {
                "nodeName": node,
                "containers": [{"name": "c", "image": "busybox", "command": ["sleep", "1000"]}],
            }
            await client.create(PODS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
        await client.create(NODES, {"metadata": {"name": "of-somebody-else"}})
    async with EmbeddedCluster(options(state)) as cluster:
        assert await names_of(cluster, NODES) == ["back-1", "of-somebody-else"]
        assert await names_of(cluster, PODS) == ["kept"]
