"""A CertificateSigningRequest says who asked for it, whatever its author writes, and keeps what was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from slipway.cluster.client.resources import ApiResource
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions

REQUESTS = ApiResource(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", False
)


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    options = ClusterOptions(nodes=0, controllers=False, scheduler=False, listen=False)
    async with EmbeddedCluster(options) as running:
        yield running


async def test_who_asks_is_written_by_the_server(cluster: EmbeddedCluster) -> None:
    jane = cluster.client("jane", ("system:masters", "devs"))
    spec = {
        "request": "eA==",
        "signerName": "x.io/y",
        "usages": ["client auth"],
        "username": "somebody-else",
        "uid": "7",
    }
    await jane.create(REQUESTS, {"metadata": {"name": "r"}, "spec": spec})
    found = (await jane.get(REQUESTS, "r"))["spec"]
    assert found["username"] == "jane"
    assert set(found["groups"]) >= {"system:masters", "devs"}
    assert "uid" not in found
    await jane.patch(REQUESTS, "r", "", {"spec": {"username": "another", "usages": ["server auth"]}})
    assert (await jane.get(REQUESTS, "r"))["spec"] == found
