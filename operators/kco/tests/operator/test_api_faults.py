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
    """A proxy in front of the API server. `decide(method, path)` gives a status to answer with, or None to pass.

    With a `bearer`, that is the only token it lets through.
    """

    def __init__(self, config: ClusterConfig) -> None:
        self.config = config
        self.decide: Any = lambda method, path: None
        self.answered: list[tuple[int, str, str]] = []
        self.bearer: str | None = None
        self._streams: set[asyncio.Transport] = set()

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
        status = self.decide(request.method, request.path_qs)
        if self.bearer is not None and request.headers.get("Authorization") != f"Bearer {self.bearer}":
            status = 401
        if status:
            self.answered.append((status, request.method, request.path_qs))
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
        if self.bearer is not None:
            own = await self.config.bearer()
            headers = {name: text for name, text in headers.items() if name != "Authorization"}
            headers |= {"Authorization": f"Bearer {own}"} if own else {}
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
            carrier = request.transport
            assert carrier is not None
            self._streams.add(carrier)
            try:
                async for chunk in answer.content.iter_any():
                    await passed.write(chunk)
            finally:
                self._streams.discard(carrier)
            return passed

    def cut(self) -> None:
        """Break every answer that is under way, watches among them."""
        for carrier in list(self._streams):
            carrier.abort()


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


async def test_59_a_watch_that_has_expired_is_begun_anew_and_misses_nothing(bed, app, fault, until) -> None:
    other = type(app)()
    await other.start()
    left = [3]

    def decide(method: str, path: str) -> int | None:
        if "watch=" in path and "targetapps" in path and left[0]:
            left[0] -= 1
            return 410
        return None

    await bed.start(fault.proxied)
    await bed.make(graphqlEndpoint=app.url)
    await until(lambda: app.requests)
    fault.decide = decide
    fault.cut()
    await bed.make("second", graphqlEndpoint=other.url)
    await until(lambda: other.requests)
    await until(lambda: not left[0])
    await bed.make("third", graphqlEndpoint=app.url)
    await until(lambda: bed.condition("EndpointReachable", "third"))
    assert len(await bed.events("InitialState")) >= 2
    await other.stop()


async def test_59_a_rotated_token_is_taken_up_and_nothing_is_lost(bed, app, fault, until, tmp_path) -> None:
    hook, other = type(app)(), type(app)()
    await hook.start()
    await other.start()
    token = tmp_path / "token"
    token.write_text("first\n")
    fault.bearer = "first"
    identity = {"token": None, "token_file": token, "client_certificate": None, "client_key": None}
    await bed.start(replace(fault.proxied, **identity), lease_duration=60)
    await bed.make(graphqlEndpoint=app.url, actions=[act(hook.url)])
    await until(lambda: app.requests)
    # The server refuses the old token before the kubelet has written the new one.
    fault.bearer = "second"
    fault.cut()
    app.turn(application={"health": "unhealthy"})
    await until(lambda: any(method == "POST" for _, method, _ in fault.answered))
    assert hook.requests == 0
    token.write_text("second\n")
    await until(lambda: finished(bed))
    assert hook.requests == 1
    await bed.make("second", graphqlEndpoint=other.url)
    await until(lambda: other.requests)
    await hook.stop()
    await other.stop()
