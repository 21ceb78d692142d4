"""A context in which one action is tried against a real API server, with every request recorded."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kco.actions.handler import ActionHandler, Context
from kco.net.guard import Guard
from kco.net.pool import Pool
from kco.settings import Settings
from kco.spec.reading import read
from kco.targets.credentials import Credentials, Redactor
from operator_kit.clock import SystemClock
from operator_kit.kube.client import KubeClient, Resource

DEPLOYMENTS = Resource("apps", "v1", "deployments")


class RecordingClient(KubeClient):
    """Notes method, path and media type of every request."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.requests: list[tuple[str, str, str, dict[str, str]]] = []

    @asynccontextmanager
    async def open(self, method: str, path: str, **more: Any) -> AsyncIterator[Any]:
        media = more.get("media_type", "") if more.get("body") is not None else ""
        self.requests.append((method, path, media, dict(more.get("query") or {})))
        async with super().open(method, path, **more) as answer:
            yield answer


@pytest.fixture
async def recorder(client, admin) -> AsyncIterator[RecordingClient]:
    async with RecordingClient(admin, user_agent="test", attempts=1) as kube:
        yield kube


@pytest.fixture
def try_action(recorder, namespace) -> Callable[..., Any]:
    """Check parameters and run a handler once."""

    async def run(
        handler: ActionHandler,
        parameters: dict[str, Any],
        *,
        timeout: float = 5.0,
        state: Any = None,
        **more: Any,
    ) -> Any:
        clock, redactor = SystemClock(), Redactor()
        spec = {"stateQuery": "{ a }", "selector": {"matchLabels": {"app": "x"}}, **more.pop("spec", {})}
        given = {
            "namespace": namespace,
            "target": "app",
            "uid": "uid-1",
            "spec": read(spec),
            "rule": "r",
            "run": "run-1",
            "instance": "",
            "pod": "",
            "state": state or {},
            "changes": [],
            "parameters": handler.read(parameters),
            "client": recorder,
            "pool": Pool(Guard(allowed=["127.0.0.0/8"])),
            "credentials": Credentials(recorder, clock=clock, redactor=redactor),
            "clock": clock,
            "pods": list,
            "redact": redactor,
            "patchable": frozenset(Settings().patchable_kinds),
            "deadline": clock.monotonic() + timeout,
            **more,
        }
        context = Context(**given)
        skip = await handler.can_handle(context)
        if skip is not None:
            return skip
        async with asyncio.timeout(timeout):
            return await handler.execute(context)

    return run


def deployment(name: str, replicas: int = 1, **more: Any) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": "x"}},
        "spec": {"containers": [{"name": "main", "image": "i"}], **more},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "x"}}, "template": template},
    }


@pytest.fixture
def make_deployment(client, namespace) -> Callable[..., Any]:
    async def make(name: str = "web", replicas: int = 1) -> Any:
        return await client.create(DEPLOYMENTS, namespace, deployment(name, replicas))

    return make
