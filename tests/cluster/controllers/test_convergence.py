"""Whatever is done to workloads, and whichever pods die meanwhile, they arrive at what was last asked for and rest."""

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway.cluster.client.client import PatchType
from slipway.cluster.client.objects import is_deleting, name_of
from slipway.cluster.client.resources import DAEMON_SETS, DEPLOYMENTS, JOBS, PODS, REPLICA_SETS, STATEFUL_SETS
from slipway.cluster.status import StatusError

Play = Callable[..., None]

few = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
actions = st.one_of(
    st.tuples(st.just("scale"), st.integers(0, 6)),
    st.tuples(st.just("image"), st.integers(1, 3)),
    st.tuples(st.just("kill"), st.integers(0, 5)),
    st.tuples(st.just("wait"), st.integers(0, 20)),
)
histories = st.lists(actions, min_size=2, max_size=8)


def workload(replicas: int | None, **spec: Any) -> dict[str, Any]:
    given_replicas = {} if replicas is None else {"replicas": replicas}
    return {
        "metadata": {"name": "it"},
        "spec": {
            **given_replicas,
            "selector": {"matchLabels": {"app": "it"}},
            "template": {
                "metadata": {"labels": {"app": "it"}},
                "spec": {"containers": [{"name": "c", "image": "app:1"}]},
            },
            **spec,
        },
    }


async def act(world: Any, resource: Any, history: list[tuple[str, int]]) -> tuple[int, str]:
    """Do it all; what was asked for in the end."""
    replicas, image = 3, "app:1"
    for action, number in history:
        if action == "scale" and resource is not DAEMON_SETS:
            replicas = number
            await world.merge(resource, "it", {"spec": {"replicas": number}})
        elif action == "image":
            image = f"app:{number}"
            change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
            await world.api.patch(resource, "it", "default", change, PatchType.STRATEGIC)
        elif action == "kill":
            pods = await world.list(PODS, "app=it")
            if pods:
                try:
                    await world.api.delete(PODS, name_of(pods[number % len(pods)]), "default", grace_period=0)
                except StatusError as error:
                    assert error.code == 404  # noqa: PT017
        await asyncio.sleep(number / 4)
    return replicas, image


async def arrived(world: Any, resource: Any, replicas: int, image: str) -> bool:
    pods = await world.list(PODS, "app=it")
    found = await world.get(resource, "it")
    return (
        found["status"].get("observedGeneration") == found["metadata"]["generation"]
        and len(pods) == replicas
        and all(pod["spec"]["containers"][0]["image"] == image and not is_deleting(pod) for pod in pods)
        and all(pod["status"]["phase"] == "Running" for pod in pods)
    )


def check(
    play: Play, resource: Any, made: dict[str, Any], history: list[tuple[str, int]], nodes: int = 1
) -> None:
    async def story(world: Any) -> None:
        for number in range(1, nodes):
            await world.add_node(f"node-{number + 1}")
        await world.create(resource, made)
        replicas, image = await act(world, resource, history)
        if resource is DAEMON_SETS:
            replicas = nodes
        await world.until(lambda: arrived(world, resource, replicas, image), 600)
        await asyncio.sleep(60)
        assert await arrived(world, resource, replicas, image)
        assert await world.quiet(700) == []
        if resource is DEPLOYMENTS:
            sizes = [rs["spec"]["replicas"] for rs in await world.list(REPLICA_SETS)]
            assert sorted(sizes)[-1] == replicas == sum(sizes)

    play(story)


@few
@given(history=histories, surge=st.integers(0, 2), unavailable=st.integers(1, 2))
def test_deployments_arrive(play: Play, history: list[tuple[str, int]], surge: int, unavailable: int) -> None:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    made = workload(3, strategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    check(play, DEPLOYMENTS, made, history)


@few
@given(history=histories)
def test_recreated_deployments_arrive(play: Play, history: list[tuple[str, int]]) -> None:
    check(play, DEPLOYMENTS, workload(3, strategy={"type": "Recreate"}), history)


@few
@given(history=histories, policy=st.sampled_from(["OrderedReady", "Parallel"]))
def test_stateful_sets_arrive(play: Play, history: list[tuple[str, int]], policy: str) -> None:
    check(play, STATEFUL_SETS, workload(3, serviceName="it", podManagementPolicy=policy), history)


@few
@given(history=histories, surge=st.integers(0, 1))
def test_daemon_sets_arrive(play: Play, history: list[tuple[str, int]], surge: int) -> None:
    rolling = {"maxSurge": surge, "maxUnavailable": 1 - surge}
    made = workload(None, updateStrategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    check(play, DAEMON_SETS, made, history, nodes=3)


def indexed_job() -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    spec = {"completions": 4, "parallelism": 2, "completionMode": "Indexed", "template": template}
    return {"metadata": {"name": "work"}, "spec": spec}


@few
@given(lost=st.integers(0, 40), restart=st.booleans())
def test_a_write_of_which_the_answer_was_lost_is_not_done_twice(play: Play, lost: int, restart: bool) -> None:
    async def story(world: Any) -> None:
        await asyncio.sleep(5)
        world.kubelet.outcome = lambda pod: (
            ("Succeeded", 0) if "job-name" in pod["metadata"]["labels"] else None
        )
        world.lose_reply(lost)
        await world.create(DEPLOYMENTS, workload(3))
        await world.create(JOBS, indexed_job())
        await asyncio.sleep(2)
        if restart:
            await world.restart_controllers()
        change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "app:2"}]}}}}
        await world.api.patch(DEPLOYMENTS, "it", "default", change, PatchType.STRATEGIC)
        await world.until(lambda: arrived(world, DEPLOYMENTS, 3, "app:2"), 300)
        await asyncio.sleep(60)
        job = await world.get(JOBS, "work")
        assert job["status"]["succeeded"] == 4
        assert job["status"]["completedIndexes"] == "0-3"
        assert "failed" not in job["status"]
        assert len(await world.list(PODS, "job-name=work")) == 4
        assert len(await world.list(REPLICA_SETS)) == 2
        assert await world.quiet(600) == []

    play(story)


def test_controllers_that_start_anew_find_nothing_to_do(play: Play) -> None:
    async def story(world: Any) -> None:
        world.kubelet.outcome = lambda pod: (
            ("Succeeded", 0) if "job-name" in pod["metadata"]["labels"] else None
        )
        claim = {
            "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        await world.create(DEPLOYMENTS, workload(3))
        stateful = workload(2, serviceName="it", volumeClaimTemplates=[claim])
        for resource, made in ((STATEFUL_SETS, stateful), (DAEMON_SETS, workload(None))):
            made["metadata"]["name"] = resource.plural
            made["spec"]["selector"]["matchLabels"] = {"app": resource.plural}
            made["spec"]["template"]["metadata"]["labels"] = {"app": resource.plural}
            await world.create(resource, made)
        await world.create(JOBS, indexed_job())
        await asyncio.sleep(60)
        assert await world.quiet(60) == []
        await world.restart_controllers()
        await asyncio.sleep(60)
        assert world.writes == []

    play(story)
