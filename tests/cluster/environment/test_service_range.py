"""The range of Services as the API shows it."""

from __future__ import annotations

from pathlib import Path

from slipway.cluster.client.resources import ApiResource
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions

SERVICE_CIDRS = ApiResource("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", namespaced=False)


async def test_the_range_of_services_is_there_ready_and_the_same_after_a_restart(tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        options = ClusterOptions(
            nodes=0,
            controllers=False,
            scheduler=False,
            listen=False,
            tls=False,
            state=tmp_path / "state",
            data=tmp_path / "data",
            service_range="10.77.0.0/16",
        )
        async with EmbeddedCluster(options) as cluster:
            found.append(await cluster.client().get(SERVICE_CIDRS, "kubernetes"))
    assert found[0]["spec"] == {"cidrs": ["10.77.0.0/16"]}
    [condition] = found[0]["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Ready", "True")
    assert found[0] == found[1]
