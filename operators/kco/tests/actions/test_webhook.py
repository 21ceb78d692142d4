"""webhook: retries that the receiver can recognise, secrets by reference, templates that cannot break out."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from kco.actions.handler import InvalidParameters
from kco.actions.template import fill
from kco.actions.webhook import Webhook
from operator_kit.kube.client import SECRETS


class Receiver:
    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []
        self.hang = False

    async def hook(self, request: web.Request) -> web.Response:
        self.bodies.append(json.loads(await request.read() or b"null"))
        self.headers.append(dict(request.headers))
        if self.hang:
            await asyncio.sleep(30)
        status = self.statuses.pop(0) if self.statuses else 200
        headers = {"Location": "/other"} if status == 302 else {}
        return web.Response(status=status, text="x" * 200_000 if status == 207 else "no", headers=headers)


@pytest.fixture
async def receiver() -> AsyncIterator[Any]:
    made = Receiver()
    application = web.Application()
    application.router.add_route("*", "/{any:.*}", made.hook)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"  # type: ignore[attr-defined]
    yield made
    await runner.cleanup()


async def test_43_passing_failures_are_retried_with_one_idempotency_key(try_action, receiver) -> None:
    receiver.statuses = [503, 500]
    result = await try_action(Webhook(), {"url": receiver.url})
    assert (result.phase, result.output) == ("Succeeded", {"status": 200, "attempts": 3})
    assert {headers["Idempotency-Key"] for headers in receiver.headers} == {"run-1"}


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (302, 1), (401, 1), (500, 2)])
async def test_43_only_2xx_is_success_and_redirects_are_not_followed(
    try_action, receiver, status: int, requests: int
) -> None:
    receiver.statuses = [status] * 5
    result = await try_action(Webhook(), {"url": receiver.url, "attempts": 2})
    assert (result.phase, result.retryable) == ("Failed", False)
    assert len(receiver.bodies) == requests


async def test_43_a_large_answer_is_not_swallowed(try_action, receiver) -> None:
    receiver.statuses = [207]
    result = await try_action(Webhook(), {"url": receiver.url, "attempts": 1})
    assert result.phase == "Failed"
    assert "larger than" in result.message


async def test_43_a_receiver_that_hangs_costs_its_timeout_only(try_action, receiver) -> None:
    receiver.hang = True
    result = await try_action(Webhook(), {"url": receiver.url, "attempts": 1, "timeout": 0.2})
    assert "no answer within 0.2 s" in result.message


async def test_43_the_state_is_sent_only_if_asked_and_redacted(try_action, receiver) -> None:
    state = {"a": 1, "secret": "s3cret"}
    await try_action(Webhook(), {"url": receiver.url}, state=state)
    assert "state" not in receiver.bodies[0]
    spec = {"events": {"redact": ["secret"]}}
    await try_action(Webhook(), {"url": receiver.url, "includeState": True}, state=state, spec=spec)
    assert receiver.bodies[1]["state"] == {"a": 1, "secret": "[redacted]"}


async def test_43_url_and_headers_come_from_secrets(try_action, receiver, client, namespace) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "hook"},
        "data": {
            "url": base64.b64encode(receiver.url.encode()).decode(),
            "token": base64.b64encode(b"Bearer canary-1234").decode(),
        },
    }
    await client.create(SECRETS, namespace, body)
    reference = {"secretKeyRef": {"name": "hook", "key": "token"}}
    parameters = {
        "urlFrom": {"secretKeyRef": {"name": "hook", "key": "url"}},
        "headers": [{"name": "Authorization", "valueFrom": reference}],
    }
    result = await try_action(Webhook(), parameters)
    assert result.phase == "Succeeded"
    assert receiver.headers[0]["Authorization"] == "Bearer canary-1234"
    missing = {"secretKeyRef": {"name": "hook", "key": "none"}}
    result = await try_action(Webhook(), {"urlFrom": missing})
    assert (result.phase, result.message) == ("Failed", "Secret 'hook' has no key 'none'")


async def test_49_a_webhook_cannot_reach_refused_addresses(try_action) -> None:
    result = await try_action(Webhook(), {"url": "http://169.254.169.254/latest/meta-data", "attempts": 3})
    assert (result.phase, result.retryable) == ("Failed", False)
    assert "refused network" in result.message


hostile = st.text(max_size=40) | st.sampled_from(
    ['"}', "\\", '{"channel": "#ceo"}', "{{ application.x }}", "\r\nX: y"]
)


@given(hostile, hostile)
def test_43_whatever_the_state_holds_stays_inside_its_own_string(first: str, second: str) -> None:
    template = {
        "channel": "#ops",
        "text": "is {{ application.health }} and {{application.other}}",
        "n": "{{ count }}",
    }
    state = {"application": {"health": first, "other": second}, "count": 3}
    filled = json.loads(json.dumps(fill(template, state, {"tapp_name": "app"})))
    assert set(filled) == {"channel", "text", "n"}
    assert filled["channel"] == "#ops"
    assert filled["n"] == 3
    assert first in filled["text"] or len(first) > 30


def test_43_placeholders_name_any_state_field_and_the_fixed_words() -> None:
    state = {"nodes": [{"name": "a"}], "x": None}
    template = {
        "a": "{{ nodes[0].name }}",
        "b": "{{nothing}}",
        "c": "on {{ tapp_name }}: {{ nothing }}",
        "d": "{{ x }}",
    }
    assert fill(template, state, {"tapp_name": "app"}) == {"a": "a", "b": None, "c": "on app: ", "d": None}


@pytest.mark.parametrize(
    "parameters", [{}, {"url": "ftp://x"}, {"url": "http://a", "verifySSL": "no"}, {"url": "http://u:p@a/"}]
)
def test_43_wrong_parameters_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameters):
        Webhook().read(parameters)
