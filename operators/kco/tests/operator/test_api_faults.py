"""The operator behind an API server that fails in every usual way: nothing lost, nothing twice."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from operator_kit.kube.config import ClusterConfig


class Fault:
    """A proxy in front of the API server. `decide(method, path)` gives a status to answer with, or None to pass."""

    def __init__(self, config: ClusterConfig) -> None:
        self.config = config
        self.decide: Any = lambda method, path: None
        self.answered: list[tuple[int, str, str]] = []

    async def start(self) -> ClusterConfig:
        self._tls = self.config.ssl_context()
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        application = web.Application(client_max_size=10**8)
        application.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return replace(self.config, server=f"http://127.0.0.1:{self._runner.addresses[0][1]}")

    async def stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        status = self.decide(request.method, request.path)
        if status:
            self.answered.append((status, request.method, request.path))
            reason = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 401: "Unauthorized"}.get(
                status, "Fault"
            )
            body = {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "reason": reason,
                "code": status,
                "message": "made up",
            }
            return web.json_response(
                body, status=status, headers={"Retry-After": "1"} if status == 429 else {}
            )
        headers = {
            name: text
            for name, text in request.headers.items()
            if name.lower() not in ("host", "content-length")
        }
        async with self._session.request(
            request.method,
            self.config.server + request.path_qs,
            headers=headers,
            data=await request.read(),
            ssl=self._tls or True,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            passed = web.StreamResponse(
                status=answer.status, headers={"Content-Type": answer.headers.get("Content-Type", "")}
            )
            await passed.prepare(request)
            async for chunk in answer.content.iter_any():
                await passed.write(chunk)
            return passed


@pytest.fixture
async def fault(admin: ClusterConfig) -> AsyncIterator[Any]:
    made = Fault(admin)
    made.proxied = await made.start()  # type: ignore[attr-defined]
    yield made
    await made.stop()


def act(url: str) -> dict[str, Any]:
    trigger = {"field": "application.health", "condition": "equals", "value": "unhealthy"}
    return {
        "name": "tell",
        "trigger": trigger,
        "action": "webhook",
        "parameters": {"url": url, "attempts": 1},
        "retry": {"attempts": 1},
    }


async def finished(bed: Any) -> Any:
    return [run for run in await bed.runs() if run.get("status", {}).get("finishedAt")]


@pytest.mark.parametrize("status", [409, 429, 500, 503])
async def test_59_refused_writes_are_made_again_and_the_action_runs_once(
    bed, app, fault, until, status: int
) -> None:
    hook = type(app)()
    await hook.start()
    left = {"POST": 2, "PATCH": 4}

    def decide(method: str, path: str) -> int | None:
        if (
            "operator.kco.local" in path
            and left.get(method, 0) > 0
            and (status != 409 or path.endswith("targetapps/app/status"))
        ):
            left[method] -= 1
            return status
        return None

    await bed.start(fault.proxied)
    await bed.make(graphqlEndpoint=app.url, actions=[act(hook.url)])
    await until(lambda: app.requests)
    fault.decide = decide
    app.turn(application={"health": "unhealthy"})
    await until(lambda: finished(bed))

    async def told() -> Any:
        current = (await bed.read()).get("status") or {}
        return current.get("actionsExecuted") == 1 and current.get("rules", [{}])[0].get("active")

    await until(told)
    assert fault.answered
    assert hook.requests == 1
    assert len(await bed.runs()) == 1
    await hook.stop()


async def test_59_an_outage_loses_no_transition(bed, app, fault, until) -> None:
    hook = type(app)()
    await hook.start()
    operator = await bed.start(fault.proxied, lease_duration=60)
    await bed.make(graphqlEndpoint=app.url, actions=[act(hook.url)])
    await until(lambda: app.requests)
    fault.decide = lambda method, path: 503
    app.turn(application={"health": "unhealthy"})
    await asyncio.sleep(4)
    assert hook.requests == 0
    assert operator.controller.acting
    fault.decide = lambda method, path: None
    await until(lambda: finished(bed))
    assert hook.requests == 1
    changed = await until(lambda: bed.events("StateChanged"))
    assert changed[0]["message"] == "application.health: healthy → unhealthy"
    await hook.stop()
