"""Simulated pods in virtual time: an hour of back-offs, probes and graces passes in moments, alike at every run."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from slipway.cluster import ClusterOptions, EmbeddedCluster
from slipway.cluster.client.resources import EVENTS, PODS
from slipway.cluster.environment.virtual_time import VirtualTimeLoop, run
from slipway.cluster.nodes.simulated import (
    Behaviour,
    BehaviourError,
    SimulatedRuntime,
    read_book,
    standard_book,
)
from slipway.cluster.status import StatusError


class Story:
    def __init__(self, cluster: EmbeddedCluster) -> None:
        self.cluster = cluster
        self.api = cluster.client()

    @property
    def runtime(self) -> SimulatedRuntime:
        runtime = self.cluster.nodes.runtime
        assert isinstance(runtime, SimulatedRuntime)
        return runtime

    async def create(self, name: str, outcome: str = "", container: Any = None, **spec: Any) -> None:
        labels = {"slipway.dev/simulate": outcome} if outcome else {}
        containers = [{"name": "main", "image": "app:1", **(container or {})}]
        body = {
            "metadata": {"name": name, "namespace": "default", "labels": labels},
            "spec": {"nodeName": "sim-1", "containers": containers, **spec},
        }
        await self.api.create(PODS, body)

    async def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.api.get(PODS, name, "default"))["status"]
        return found

    async def main(self, name: str) -> dict[str, Any]:
        row: dict[str, Any] = (await self.status(name))["containerStatuses"][0]
        return row

    async def exists(self, name: str) -> bool:
        try:
            await self.api.get(PODS, name, "default")
        except StatusError as error:
            if error.code != 404:
                raise
            return False
        return True

    async def events(self, name: str) -> list[tuple[str, str]]:
        found = await self.api.list(EVENTS, "default")
        rows = [event for event in found["items"] if event["involvedObject"]["name"] == name]
        return [(event["reason"], event["message"]) for event in rows]


Tell = Callable[[Callable[[Story], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def tell() -> Tell:
    def play(story: Callable[[Story], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualTimeLoop)
            options = ClusterOptions(
                name="sim", runtime="simulated", listen=False, tls=False, controllers=False, scheduler=False,
                seed=1, service_account_admission=False,
            )  # fmt: skip
            async with EmbeddedCluster(options, loop.clock()) as cluster:
                await story(Story(cluster))

        run(main())

    return play


def test_a_pod_runs_and_is_ready(tell: Tell) -> None:
    async def story(s: Story) -> None:
        await s.create("web")
        await asyncio.sleep(1)
        status = await s.status("web")
        assert status["phase"] == "Running"
        assert {row["type"]: row["status"] for row in status["conditions"]} == {
            "PodReadyToStartContainers": "True",
            "Initialized": "True",
            "Ready": "True",
            "ContainersReady": "True",
            "PodScheduled": "True",
        }
        assert [reason for reason, _ in await s.events("web")] == ["Pulling", "Pulled", "Created", "Started"]

    tell(story)


def test_an_image_does_not_want_to_be_root_but_a_pod_may(tell: Tell) -> None:
    """Charts ask for runAsNonRoot and leave the user to their image."""

    async def story(s: Story) -> None:
        await s.create("careful", securityContext={"runAsNonRoot": True})
        await s.create("wrong", securityContext={"runAsNonRoot": True, "runAsUser": 0})
        await asyncio.sleep(10)
        assert (await s.status("careful"))["phase"] == "Running"
        waiting = (await s.main("wrong"))["state"]["waiting"]
        assert waiting["reason"] == "CreateContainerConfigError"

    tell(story)


def test_a_crash_loop_backs_off_as_kubelet_does(tell: Tell) -> None:
    async def story(s: Story) -> None:
        await s.create("crash", "crash-loop")
        await asyncio.sleep(3)
        row = await s.main("crash")
        assert row["restartCount"] == 1
        assert row["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        assert row["state"]["waiting"]["message"].startswith("back-off 10s restarting failed container=main")
        assert row["lastState"]["terminated"]["exitCode"] == 1
        starts = []
        for _ in range(640):
            await asyncio.sleep(1)
            count = (await s.main("crash"))["restartCount"]
            if not starts or starts[-1][1] != count:
                starts.append((s.cluster.clock.now(), count))
        gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(starts[1:])]
        expected = [21, 41, 81, 161, 301]  # the back-off and the second that it runs
        assert len(gaps) == len(expected)
        assert all(abs(gap - wanted) <= 1 for gap, wanted in zip(gaps, expected, strict=True)), gaps
        before = (await s.main("crash"))["restartCount"]
        await asyncio.sleep(3600)
        assert (await s.main("crash"))["restartCount"] - before in (11, 12), "every five minutes from then on"
        assert (await s.status("crash"))["phase"] == "Running"

    tell(story)


def test_scripted_outcomes_are_picked_by_label(tell: Tell) -> None:
    async def story(s: Story) -> None:
        for outcome in ("fail", "complete", "oom", "image-pull-error", "slow-start"):
            await s.create(outcome, outcome, restartPolicy="Never")
        await asyncio.sleep(10)
        assert (await s.status("fail"))["phase"] == "Failed"
        assert (await s.status("complete"))["phase"] == "Succeeded"
        assert (await s.main("oom"))["state"]["terminated"]["reason"] == "OOMKilled"
        waiting = (await s.main("image-pull-error"))["state"]["waiting"]
        assert waiting["reason"] == "ImagePullBackOff"
        assert (await s.status("image-pull-error"))["phase"] == "Pending"
        reasons = [reason for reason, _ in await s.events("image-pull-error")]
        assert reasons.count("Failed") == 3
        assert "BackOff" in reasons

    tell(story)


def test_probes_decide_about_readiness_and_restarts(tell: Tell) -> None:
    async def story(s: Story) -> None:
        get = {"httpGet": {"port": 80}, "periodSeconds": 5}
        await s.create("slow", "slow-start", {"readinessProbe": get})
        await s.create("stuck", "never-ready", {"livenessProbe": {**get, "failureThreshold": 2}})
        await asyncio.sleep(10)
        assert (await s.main("slow"))["ready"] is False
        await asyncio.sleep(30)
        assert (await s.main("slow"))["ready"] is True
        row = await s.main("stuck")
        assert row["restartCount"] >= 1
        events = await s.events("stuck")
        assert ("Killing", "Container main failed liveness probe, will be restarted") in events
        assert any(
            reason == "Unhealthy" and text.startswith("Liveness probe failed: Get ")
            for reason, text in events
        )

    tell(story)


@pytest.mark.parametrize(
    "probe",
    [
        {"httpGet": {"port": 9443, "scheme": "HTTPS", "path": "/readyz"}},
        {"tcpSocket": {"port": 80}},
        {"grpc": {"port": 80}},
        {"exec": {"command": ["true"]}},
    ],
    ids=lambda probe: next(iter(probe)),
)
def test_probes_of_every_kind_get_good_answers(tell: Tell, probe: dict[str, Any]) -> None:
    async def story(s: Story) -> None:
        await s.create("web", "", {"readinessProbe": {**probe, "periodSeconds": 1}})
        await asyncio.sleep(10)
        assert (await s.main("web"))["ready"] is True

    tell(story)


def test_a_startup_probe_holds_the_others_back(tell: Tell) -> None:
    async def story(s: Story) -> None:
        get = {"httpGet": {"port": 80}, "periodSeconds": 5}
        container = {
            "startupProbe": {**get, "failureThreshold": 30},
            "livenessProbe": {**get, "failureThreshold": 1},
        }
        await s.create("slow", "slow-start", container)
        await asyncio.sleep(20)
        assert (await s.main("slow"))["started"] is False
        await asyncio.sleep(30)
        row = await s.main("slow")
        assert (row["started"], row["ready"], row["restartCount"]) == (True, True, 0)

    tell(story)


def test_init_containers_and_sidecars_start_in_order_and_end_in_reverse(tell: Tell) -> None:
    async def story(s: Story) -> None:
        log: list[tuple[str, str]] = []

        def script(pod: Any, container: Any) -> Behaviour:
            log.append((container.kind, container.name))
            return Behaviour(run=5.0) if container.kind in ("init", "app") else Behaviour(stop=0.1)

        s.runtime.script = script
        init = [
            {"name": "a", "image": "x"},
            {"name": "proxy", "image": "x", "restartPolicy": "Always"},
            {"name": "b", "image": "x"},
        ]
        await s.create("pod", initContainers=init, restartPolicy="Never")
        await asyncio.sleep(1)
        status = await s.status("pod")
        assert status["phase"] == "Pending"
        assert [row["name"] for row in status["initContainerStatuses"]] == ["a", "proxy", "b"]
        for waiting in (status["initContainerStatuses"][2], status["containerStatuses"][0]):
            assert waiting["state"]["waiting"]["reason"] == "PodInitializing"
        await asyncio.sleep(11)
        assert log == [("init", "a"), ("sidecar", "proxy"), ("init", "b"), ("app", "main")]
        assert (await s.status("pod"))["phase"] == "Running"
        await asyncio.sleep(10)
        status = await s.status("pod")
        assert status["phase"] == "Succeeded"
        assert "terminated" in status["initContainerStatuses"][1]["state"], (
            "the sidecar is stopped at the end"
        )

    tell(story)


def test_a_deadline_ends_a_pod(tell: Tell) -> None:
    async def story(s: Story) -> None:
        await s.create("late", activeDeadlineSeconds=60)
        await asyncio.sleep(59)
        assert (await s.status("late"))["phase"] == "Running"
        await asyncio.sleep(5)
        status = await s.status("late")
        assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")

    tell(story)


def test_deletion_waits_for_the_grace_period_and_no_longer(tell: Tell) -> None:
    async def story(s: Story) -> None:
        await s.create("slow", "slow-stop", terminationGracePeriodSeconds=40)
        await s.create("quick", terminationGracePeriodSeconds=40)
        await asyncio.sleep(5)
        await s.api.delete(PODS, "slow", "default")
        await s.api.delete(PODS, "quick", "default")
        await asyncio.sleep(2)
        assert await s.exists("slow")
        assert not await s.exists("quick")
        await asyncio.sleep(36)
        assert await s.exists("slow")
        await asyncio.sleep(3)
        assert not await s.exists("slow")

    tell(story)


def test_a_shorter_grace_period_overtakes_a_longer_one(tell: Tell) -> None:
    async def story(s: Story) -> None:
        await s.create("slow", "slow-stop")
        await asyncio.sleep(2)
        await s.api.delete(PODS, "slow", "default", grace_period=600)
        await asyncio.sleep(5)
        assert await s.exists("slow")
        await s.api.delete(PODS, "slow", "default", grace_period=3)
        await asyncio.sleep(5)
        assert not await s.exists("slow")

    tell(story)


def test_a_pod_that_is_forced_away_leaves_nothing_running(tell: Tell) -> None:
    async def story(s: Story) -> None:
        await s.create("slow", "slow-stop")
        await asyncio.sleep(2)
        await s.api.delete(PODS, "slow", "default", grace_period=0)
        await asyncio.sleep(2)
        assert not await s.exists("slow")
        assert not s.cluster.nodes.agents["sim-1"].workers

    tell(story)


def test_the_nodes_lease_is_kept_and_its_status_complete(tell: Tell) -> None:
    from slipway.cluster.client.resources import LEASES, NODES

    async def story(s: Story) -> None:
        await asyncio.sleep(3600)
        lease = await s.api.get(LEASES, "sim-1", "kube-node-lease")
        node = await s.api.get(NODES, "sim-1")
        assert lease["spec"]["holderIdentity"] == "sim-1"
        renewed = lease["spec"]["renewTime"]
        assert renewed > "2026-01-01T00:59:40"
        assert {row["type"]: row["status"] for row in node["status"]["conditions"]}["Ready"] == "True"
        assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "sim-1"

    tell(story)


def test_a_full_node_is_cheap_and_its_pods_have_addresses_of_their_own(tell: Tell) -> None:
    async def story(s: Story) -> None:
        for number in range(110):
            await s.create(f"p{number}")
        await asyncio.sleep(2)
        found = await s.api.list(PODS, "default")
        assert {pod["status"]["phase"] for pod in found["items"]} == {"Running"}
        assert len({pod["status"]["podIP"] for pod in found["items"]}) == 110

    tell(story)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("behaviours: [{match: {colour: red}}]", r"behaviours\[0\].match.colour: unknown field"),
        ("behaviours: [{start: soon}]", r"behaviours\[0\].start: 'soon' is not a number"),
        ("outcomes: {x: {speed: 1}}", r"outcomes.x.speed: unknown field"),
        ("behaviours: 5", "behaviours: 5 is not a list of rows"),
        ("behaviours: [shop]", r"behaviours\[0\]: 'shop' is not a mapping"),
        ("behaviours: [{match: shop}]", r"behaviours\[0\].match: 'shop' is not a mapping"),
        ("behaviours: [{match: {labels: app}}]", r"behaviours\[0\].match.labels: 'app' is not a mapping"),
        ("behaviours: [{match: {image: 1}}]", r"behaviours\[0\].match.image: 1 is not a text"),
        ("outcomes: [x]", "outcomes: .'x'. is not a mapping"),
        ("outcomes: {x: 3}", "outcomes.x: 3 is not a mapping"),
        ("other: 1", "expected the fields"),
        ("a: [", "book.yaml"),
    ],
)
def test_a_wrong_behaviour_file_is_refused_with_the_place(text: str, message: str) -> None:
    with pytest.raises(BehaviourError, match=message):
        read_book(text, "book.yaml")


def test_a_book_of_ones_own_keeps_the_outcomes_and_rules_that_it_does_not_name() -> None:
    mine = read_book(
        "{behaviours: [{match: {image: shop}, start: 9}], outcomes: {oom: {run: 1}}}", "mine.yaml"
    )
    book = mine.before(standard_book())
    assert book.rules[0].behaviour.start == 9
    assert book.rules[1:] == standard_book().rules
    assert book.outcomes["oom"].run == 1
    assert book.outcomes["crash-loop"] == standard_book().outcomes["crash-loop"]


def test_the_standard_book_is_right() -> None:
    assert {"fail", "crash-loop", "oom", "image-pull-error", "slow-start"} <= set(standard_book().outcomes)
