"""Client libraries of others, set up from a cluster: each makes an object and reads it back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kopf
import kr8s.asyncio.objects
import kr8s.objects
import kubernetes.client
import kubernetes_asyncio.client
import lightkube.models.meta_v1
import lightkube.resources.core_v1
import pytest
import yaml

from slipway.cluster import Cluster, ClusterError, clients
from slipway.cluster.environment.test_cluster import TestCluster

LIGHTKUBE_MAP = lightkube.resources.core_v1.ConfigMap


@pytest.fixture(scope="module")
def home() -> Iterator[Cluster]:
    with Cluster(nodes=0) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def no_kubeconfig_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"by": name}}


def test_the_official_client_enters(home: Cluster) -> None:
    with clients.kubernetes(home) as api:
        core = kubernetes.client.CoreV1Api(api)
        core.create_namespaced_config_map("default", config_map("official"))
        assert core.read_namespaced_config_map("official", "default").data == {"by": "official"}


async def test_kubernetes_asyncio_enters(home: Cluster) -> None:
    async with await clients.kubernetes_asyncio(home) as api:
        core = kubernetes_asyncio.client.CoreV1Api(api)
        await core.create_namespaced_config_map("default", config_map("asyncio"))
        assert (await core.read_namespaced_config_map("asyncio", "default")).data == {"by": "asyncio"}


def test_lightkube_enters(home: Cluster) -> None:
    client = clients.lightkube(home, "kube-public")
    meta = lightkube.models.meta_v1.ObjectMeta(name="light")
    client.create(LIGHTKUBE_MAP(metadata=meta, data={"by": "light"}))
    assert client.get(LIGHTKUBE_MAP, "light", namespace="kube-public").data == {"by": "light"}


async def test_lightkube_enters_from_an_event_loop(home: Cluster) -> None:
    client = clients.lightkube_asyncio(home)
    meta = lightkube.models.meta_v1.ObjectMeta(name="light-asyncio")
    await client.create(LIGHTKUBE_MAP(metadata=meta, data={"by": "light-asyncio"}))
    assert (await client.get(LIGHTKUBE_MAP, "light-asyncio")).data == {"by": "light-asyncio"}
    await client.close()


def test_kr8s_enters(home: Cluster) -> None:
    api = clients.kr8s(home, "kube-public")
    kr8s.objects.ConfigMap(config_map("kr8s"), api=api).create()
    assert kr8s.objects.ConfigMap.get("kr8s", "kube-public", api=api).data == {"by": "kr8s"}


async def test_kr8s_enters_from_an_event_loop(home: Cluster) -> None:
    api = await clients.kr8s_asyncio(home)
    await kr8s.asyncio.objects.ConfigMap(config_map("kr8s-asyncio"), api=api).create()
    found = await kr8s.asyncio.objects.ConfigMap.get("kr8s-asyncio", "default", api=api)
    assert found.data == {"by": "kr8s-asyncio"}


def test_a_kopf_operator_enters_from_a_thread_of_the_test(cluster: TestCluster) -> None:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(clients.kopf_login(cluster))
    seen = threading.Event()

    @kopf.on.create("v1", "configmaps", registry=registry, annotations={"greeted": kopf.ABSENT})
    def greet(name: str, patch: kopf.Patch, **_: Any) -> None:
        patch.metadata.annotations["greeted"] = f"hello, {name}"
        seen.set()

    ended = threading.Event()
    operator = threading.Thread(
        target=lambda: kopf.run(
            registry=registry, namespaces=[cluster.namespace], stop_flag=ended, standalone=True
        )
    )
    operator.start()
    try:
        cluster.apply(config_map("ada"))
        greeted = cluster.wait(
            "configmaps", "ada", lambda obj: "greeted" in obj["metadata"].get("annotations", {})
        )
        assert greeted["metadata"]["annotations"]["greeted"] == "hello, ada"
    finally:
        ended.set()
        operator.join()
    assert seen.is_set()


def test_plain_http_and_a_token_will_do() -> None:
    with Cluster(nodes=0, tls=False) as cluster, clients.kubernetes(cluster) as api:
        assert kubernetes.client.VersionApi(api).get_code().minor == "37"


def test_the_kubeconfig_of_a_test_names_its_namespace(cluster: TestCluster) -> None:
    [context] = clients.document(cluster)["contexts"]
    assert context["context"]["namespace"] == cluster.namespace
    [context] = clients.document(cluster, "elsewhere")["contexts"]
    assert context["context"]["namespace"] == "elsewhere"


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, home: Cluster) -> None:
    monkeypatch.setitem(__import__("sys").modules, "kr8s", None)
    with pytest.raises(ClusterError, match="kr8s is not installed here"):
        clients.kr8s(home)


def test_a_new_token_is_of_whom_it_was_made_for(home: Cluster, tmp_path: Path) -> None:
    entry = clients.document(home)
    entry["users"][0]["user"] = {"token": home.embedded.new_token("ada", ("readers",))}
    path = tmp_path / "of-ada"
    path.write_text(yaml.safe_dump(entry))
    with clients.kubernetes(path) as api:
        review = kubernetes.client.AuthenticationV1Api(api).create_self_subject_review({})
        assert review.status.user_info.username == "ada"
        assert set(review.status.user_info.groups) == {"readers", "system:authenticated"}
