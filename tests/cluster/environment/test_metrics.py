"""GET /metrics counts what is stored, for those who may read it."""

from __future__ import annotations

from slipway.cluster.client.resources import CONFIG_MAPS
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Identity, Peer, Request

ADMIN = Identity("admin", ("system:masters", "system:authenticated"))
BOB = Identity("bob", ("system:authenticated",))


async def test_metrics_count_objects_by_resource_and_are_not_for_everybody() -> None:
    options = ClusterOptions(nodes=0, controllers=False, scheduler=False, listen=False)
    async with EmbeddedCluster(options) as cluster:

        async def metrics(identity: Identity) -> tuple[int, str]:
            request = Request("GET", "/metrics", peer=Peer(identity=identity))
            response = await cluster.plane.api.handle(request)
            assert isinstance(response.body, bytes)
            return response.status, response.body.decode()

        line = 'apiserver_resource_objects{group="",resource="configmaps"} '
        status, before = await metrics(ADMIN)
        assert status == 200
        count = int(before.partition(line)[2].partition("\n")[0])
        await cluster.client().create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "default"}})
        assert f"{line}{count + 1}\n" in (await metrics(ADMIN))[1]
        assert before.count('resource="horizontalpodautoscalers"') == 1
        assert 'kubernetes_build_info{git_version="v1.37.0",major="1",minor="37"} 1\n' in before
        assert (await metrics(BOB))[0] == 403
