"""Steering: a port of this machine by which faults are scheduled in a simulator that runs, and its counters read.

One JSON object a line, each answered by one: {"do": "fault", "row": {"fault": "silent", "times": 3}}, {"do": "clear"},
{"do": "status"}, {"do": "dump"}. An answer has "error" when it was not done.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sungrow_simulator.faults import FaultError, Faults, Rule, read_row

DEFAULT_PORT = 5021
MOST_LINE = 1 << 16


class SteeringError(Exception):
    """The simulator was not reached, or did not do it; the text says why."""


class SteeringPort:
    """Serves one inverter's schedule on the loopback interface. `dump` gives its registers."""

    def __init__(
        self, faults: Faults, now: Callable[[], datetime], dump: Callable[[], dict[str, Any]]
    ) -> None:
        self._faults, self._now, self._dump = faults, now, dump
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def start(self, port: int) -> None:
        """Listen; port 0 takes a free one, shown in `port`."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=MOST_LINE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End every connection and free the port."""
        if self._server is not None:
            self._server.close()
            for writer in self._writers:
                writer.transport.abort()
            await self._server.wait_closed()

    def answer(self, request: Any) -> dict[str, Any]:
        """Do one thing that was asked for."""
        known: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "fault": self._fault,
            "clear": self._clear,
            "status": lambda _: self._status(),
            "dump": lambda _: self._dump(),
        }
        todo = request.get("do") if isinstance(request, dict) else None
        if todo not in known:
            return {"error": f'"do" is {todo!r}, expected one of {", ".join(known)}'}
        try:
            return known[todo](request)
        except FaultError as error:
            return {"error": str(error)}

    def _fault(self, request: dict[str, Any]) -> dict[str, Any]:
        self._faults.add(**read_row(request.get("row"), "fault", self._now()))
        return self._status()

    def _clear(self, request: dict[str, Any]) -> dict[str, Any]:
        self._faults.clear()
        return self._status()

    def _status(self) -> dict[str, Any]:
        return {
            "now": self._now().isoformat(),
            "scheduled": [shown(rule) for rule in self._faults.rules],
            "counters": dict(sorted(self._faults.counters.items())),
        }

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while text := await reader.readline():
                try:
                    request = json.loads(text)
                except ValueError:
                    request = None
                writer.write(json.dumps(self.answer(request)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):  # the client left, or its line has no end
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


def shown(rule: Rule) -> dict[str, Any]:
    """A rule as a person writes it."""
    found = {
        "fault": str(rule.fault), "begin": rule.begin and rule.begin.isoformat(), "end": rule.end and rule.end.isoformat(),
        "skip": rule.skip or None, "times": rule.times, "port": rule.port, "function": rule.function,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


def ask(port: int, request: dict[str, Any]) -> dict[str, Any]:
    """Ask the simulator that is steered by `port`. SteeringError when it cannot be reached or refuses."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile() as lines:
                answer = json.loads(lines.readline() or "null")
    except OSError as error:
        raise SteeringError(
            f"no simulator is steered by port {port} ({error.strerror or error}): start one with --control {port}"
        ) from None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise SteeringError(f"what listens on port {port} is no simulator's control port")
    if "error" in answer:
        raise SteeringError(answer["error"])
    return answer
