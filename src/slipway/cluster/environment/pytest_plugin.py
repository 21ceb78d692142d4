"""pytest fixtures: `cluster` is a Kubernetes with a fresh namespace for each test.

    def test_my_operator(cluster):
        cluster.apply("crd.yaml")
        with cluster.process([sys.executable, "-m", "kopf", "run", "operator.py", "-n", cluster.namespace]):
            cluster.apply(my_object)
            cluster.wait("widgets.example.com", "one", lambda obj: obj.get("status", {}).get("ready"))

All tests of a worker share one embedded cluster. A test that wants one of its own says how:
`@pytest.mark.cluster(nodes=3, virtual_time=True)`. With SLIPWAY_TEST_KUBECONFIG=path the same tests run on the
cluster of that file instead (tests that ask for their own are skipped there).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from slipway.cluster.environment.cluster import Cluster
    from slipway.cluster.environment.test_cluster import TestCluster
    from slipway.cluster.faults import Faults


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "cluster(**options): a cluster of the test's own; options are those of slipway.cluster.Cluster",
    )


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Cluster]:
    """The embedded cluster that the tests of this worker share."""
    from slipway.cluster.environment.cluster import Cluster

    with Cluster(name=f"test-{uuid.uuid4().hex[:6]}", runtime="auto") as cluster:
        yield cluster


@pytest.fixture
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestCluster]:
    """A cluster as one test sees it: a kubeconfig, a namespace of its own, a few verbs."""
    from slipway.cluster.environment.cluster import Cluster
    from slipway.cluster.environment.test_cluster import TestCluster

    folder = tmp_path_factory.mktemp("cluster")
    given = os.environ.get("SLIPWAY_TEST_KUBECONFIG")
    marker = request.node.get_closest_marker("cluster")
    if marker is not None and given:
        pytest.skip("this test needs an embedded cluster of its own; SLIPWAY_TEST_KUBECONFIG names another")
    if marker is not None:
        options = {"name": f"own-{uuid.uuid4().hex[:6]}", **marker.kwargs}
        with Cluster(**options) as own, TestCluster.of(own, folder) as seen:
            yield seen
    elif given:
        with TestCluster.at(given, folder) as seen:
            yield seen
    else:
        with TestCluster.of(request.getfixturevalue("shared_cluster"), folder) as seen:
            yield seen


@pytest.fixture
def faults(cluster: TestCluster) -> Faults:
    """What the test makes the API server do wrong; every rule ends with the test. Skipped on a real cluster."""
    if cluster.embedded is None:
        pytest.skip(
            "this test makes the API server fail; that of SLIPWAY_TEST_KUBECONFIG is not ours to break"
        )
    return cluster.faults
