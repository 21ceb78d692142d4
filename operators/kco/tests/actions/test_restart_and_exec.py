"""restart_pod and exec_command without nodes: budgets, order, selection, argument vectors."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from kco.actions.exec_command import ExecCommand
from kco.actions.handler import InvalidParameters
from kco.actions.restart_pod import RestartPod
from operator_kit.kube.client import PODS, KubeClient, Resource
from operator_kit.kube.config import ClusterConfig
from operator_kit.kube.exec_stream import execute

BUDGETS = Resource("policy", "v1", "poddisruptionbudgets")
DEPLOYMENTS = Resource("apps", "v1", "deployments")


async def make_pod(client: Any, namespace: str, name: str, *, ready: bool = True, app: str = "x") -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {"containers": [{"name": "main", "image": "i"}], "terminationGracePeriodSeconds": 0},
    }
    await client.create(PODS, namespace, body)
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    status = {"phase": "Running", "podIP": "127.0.0.9", "conditions": conditions}
    await client.patch(PODS, namespace, name, {"status": status}, subresource="status")


async def names(client: Any, namespace: str) -> set[str]:
    listing = await client.list(PODS, namespace)
    return {
        pod["metadata"]["name"] for pod in listing["items"] if not pod["metadata"].get("deletionTimestamp")
    }


async def test_40_only_selected_pods_are_evicted_sick_ones_first(
    try_action, client, recorder, namespace
) -> None:
    await make_pod(client, namespace, "a")
    await make_pod(client, namespace, "b", ready=False)
    await make_pod(client, namespace, "other", app="y")
    result = await try_action(RestartPod(), {"gracePeriod": 0})
    assert result.phase == "Succeeded"
    assert result.output["restarted"] == ["b", "a"]
    assert await names(client, namespace) == {"other"}
    used = [
        path.rpartition("/")[2] for method, path, _, _ in recorder.requests if method in ("POST", "DELETE")
    ]
    assert used == ["eviction", "eviction"]


async def test_40_the_pod_whose_state_fired_is_restarted_alone(try_action, client, namespace) -> None:
    await make_pod(client, namespace, "a")
    await make_pod(client, namespace, "b")
    await try_action(RestartPod(), {"gracePeriod": 0}, instance="b.12345678", pod="b")
    assert await names(client, namespace) == {"a"}


async def test_40_an_empty_selection_is_skipped(try_action) -> None:
    assert await try_action(RestartPod(), {}) == "no pod is selected, so none is restarted"
    nothing = {"podSelector": {"app": "nothing"}}
    assert "no pod is selected" in await try_action(RestartPod(), nothing)


async def test_40_a_disruption_budget_is_respected(try_action, client, namespace, until) -> None:
    await make_pod(client, namespace, "a")
    body = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "keep"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}},
    }
    await client.create(BUDGETS, namespace, body)
    status = {
        "observedGeneration": 1,
        "disruptionsAllowed": 0,
        "currentHealthy": 1,
        "desiredHealthy": 1,
        "expectedPods": 1,
    }
    await client.patch(BUDGETS, namespace, "keep", {"status": status}, subresource="status")
    result = await try_action(RestartPod(), {"gracePeriod": 0}, timeout=5)
    assert result.phase == "Failed"
    assert "may not be evicted" in result.message
    assert await names(client, namespace) == {"a"}


async def test_40_a_rollout_restart_annotates_the_owning_workload(
    try_action, make_deployment, client, namespace, until
) -> None:
    await make_deployment("web", 1)

    async def owned() -> Any:
        return (await client.list(PODS, namespace))["items"]

    await until(owned)
    result = await try_action(RestartPod(), {"method": "rollout"})
    assert (result.phase, result.output) == ("Succeeded", {"restarted": ["Deployment/web"]})
    template = (await client.get(DEPLOYMENTS, namespace, "web"))["spec"]["template"]
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]


class Kubelet:
    """Answers exec over WebSocket as an API server does, and notes the argument vector."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.codes: list[int | None] = []
        self.output = b"out"
        self.hang = False
        self.ended = asyncio.Event()

    async def exec(self, request: web.Request) -> web.WebSocketResponse:
        self.commands.append(request.query.getall("command"))
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        if self.hang:
            async for message in socket:
                if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED):
                    break
            self.ended.set()
            return socket
        code = self.codes.pop(0) if self.codes else 0
        await socket.send_bytes(b"\x01" + self.output)
        await socket.send_bytes(b"\x02err")
        status: dict[str, Any] = {"status": "Success"}
        if code:
            causes = [{"reason": "ExitCode", "message": str(code)}]
            status = {"status": "Failure", "message": f"exit {code}", "details": {"causes": causes}}
        if code is not None:
            await socket.send_bytes(b"\x03" + json.dumps(status).encode())
        await socket.close()
        return socket

    async def pods(self, _: web.Request) -> web.Response:
        def pod(name: str, *, ready: bool = True) -> dict[str, Any]:
            conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
            return {
                "metadata": {"name": name, "uid": name, "labels": {"app": "x"}},
                "spec": {"containers": [{"name": "main"}, {"name": "side"}]},
                "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": conditions},
            }

        items = [pod("a"), pod("b"), pod("sick", ready=False)]
        return web.json_response({"items": items, "metadata": {"resourceVersion": "1"}})


@pytest.fixture
async def kubelet() -> AsyncIterator[Any]:
    made = Kubelet()
    application = web.Application()
    application.router.add_get("/api/v1/namespaces/{ns}/pods/{pod}/exec", made.exec)
    application.router.add_get("/api/v1/namespaces/{ns}/pods", made.pods)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.client = KubeClient(ClusterConfig(f"http://127.0.0.1:{runner.addresses[0][1]}"))  # type: ignore[attr-defined]
    yield made
    await made.client.close()  # type: ignore[attr-defined]
    await runner.cleanup()


async def test_44_the_exit_code_comes_from_the_error_channel_and_streams_are_apart(kubelet) -> None:
    kubelet.codes = [7]
    done = await execute(kubelet.client, "ns", "a", ["false"])
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"out", b"err")
    kubelet.codes = [None]
    assert (await execute(kubelet.client, "ns", "a", ["x"])).exit_code is None


async def test_44_output_is_capped(kubelet) -> None:
    kubelet.output = b"x" * 100_000
    done = await execute(kubelet.client, "ns", "a", ["x"])
    assert len(done.stdout) == 16 * 1024
    assert done.truncated


async def test_44_cancelling_ends_the_stream(kubelet) -> None:
    kubelet.hang = True
    work = asyncio.create_task(execute(kubelet.client, "ns", "a", ["sleep", "60"]))
    await asyncio.sleep(0.2)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await asyncio.wait_for(kubelet.ended.wait(), 30)


@pytest.mark.parametrize(
    ("parameters", "argv"),
    [
        ({"command": ["a", "b c"]}, ["a", "b c"]),
        ({"command": ["a"], "args": ["$(x)", ";"]}, ["a", "$(x)", ";"]),
        ({"command": "a 'b c' d"}, ["a", "b c", "d"]),
        ({"command": "a | b", "shell": True, "args": ["1"]}, ["/bin/sh", "-c", "a | b", "kco", "1"]),
        (
            {"command": ["a"], "workingDir": "/x; rm -rf /"},
            ["/bin/sh", "-c", 'cd -- "$0" && exec "$@"', "/x; rm -rf /", "a"],
        ),
    ],
)
async def test_44_words_reach_the_container_as_they_are(
    try_action, kubelet, parameters: dict[str, Any], argv: list[str]
) -> None:
    given = json.loads(json.dumps(parameters))
    for _ in range(2):
        result = await try_action(ExecCommand(), parameters, client=kubelet.client)
        assert result.phase == "Succeeded"
    assert kubelet.commands == [argv, argv]
    assert parameters == given


@pytest.mark.parametrize(
    ("pods", "codes", "phase", "asked"),
    [
        ("auto", [0], "Succeeded", 1),
        ("first", [1], "Failed", 1),
        ("all", [0, 1], "Failed", 2),
        ("all", [0, 0], "Succeeded", 2),
        ("any", [1, 0], "Succeeded", 2),
        ("any", [0], "Succeeded", 1),
        ("any", [1, 1], "Failed", 2),
    ],
)
async def test_44_first_any_and_all_of_the_ready_pods(
    try_action, kubelet, pods: str, codes: list[int], phase: str, asked: int
) -> None:
    kubelet.codes = list(codes)
    result = await try_action(ExecCommand(), {"command": ["x"], "pods": pods}, client=kubelet.client)
    assert result.phase == phase
    assert len(kubelet.commands) == asked
    assert "sick" not in {entry["pod"] for entry in result.output["pods"]}


@pytest.mark.parametrize(
    "parameters",
    [{}, {"command": []}, {"command": " "}, {"command": "a 'b"}, {"command": ["a"], "shell": True}],
)
def test_44_unusable_commands_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameters):
        ExecCommand().read(parameters)
