"""`scripted`: a handler that plays a written exchange, for what a real server does only when it is in trouble."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest

from slipway.cluster.client.client import Client
from slipway.cluster.client.transport import InProcessTransport
from slipway.cluster.clock import Clock
from slipway.cluster.exchange import Identity, Request, Response

Answer = Callable[[Request], Response]


def answer(body: Any, status: int = 200) -> Answer:
    return lambda _: Response(status, {"content-type": "application/json"}, json.dumps(body).encode())


def stream(*events: tuple[str, Any], pieces: int = 0) -> Answer:
    """A watch that sends these events and ends; with `pieces` the bytes come that many at a time."""
    data = b"".join(json.dumps({"type": kind, "object": obj}).encode() + b"\n" for kind, obj in events)

    async def chunks() -> AsyncIterator[bytes]:
        step = pieces or len(data) or 1
        for start in range(0, len(data), step):
            yield data[start : start + step]

    return lambda _: Response(200, {}, chunks())


class Script:
    """Answers requests in the written order, and keeps them; when the script is at its end, watches hang."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[Request] = []
        self.at_its_end = asyncio.Event()

    async def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        if self._answers:
            return self._answers.pop(0)(request)

        self.at_its_end.set()

        async def silence() -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

        return Response(200, {}, silence())

    def query(self, index: int) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(self.requests[index].query).items()}

    @property
    def client(self) -> Client:
        return Client(InProcessTransport(self, Identity("me")), user_agent="test/1", clock=Clock())


@pytest.fixture
def scripted() -> SimpleNamespace:
    return SimpleNamespace(play=Script, answer=answer, stream=stream)
