"""Probes: is a container started, alive, ready? Asked by command, HTTP, TCP, with thresholds."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httptools

from slipway.cluster.clock import Clock
from slipway.cluster.nodes.runtime import Container
from slipway.cluster.nodes.variables import expand

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    ok: bool
    message: str = ""


def port_of(container: Object, port: Any) -> int:
    """A port by number, or by the name of one of the container's ports."""
    if isinstance(port, int):
        return port
    for declared in container.get("ports") or []:
        if declared.get("name") == port:
            return int(declared["containerPort"])
    return int(port)


class _Head:
    def __init__(self) -> None:
        self.done = False

    def on_headers_complete(self) -> None:
        self.done = True


async def _http(action: Object, container: Object, address: str) -> Verdict:
    host, port = action.get("host") or address, port_of(container, action["port"])
    context = None
    if (action.get("scheme") or "HTTP").upper() == "HTTPS":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/1.37", "Accept": "*/*"}
        for header in action.get("httpHeaders") or []:
            headers[header["name"]] = header["value"]
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"GET {action.get('path') or '/'} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode())
        head = _Head()
        parser = httptools.HttpResponseParser(head)
        while not head.done:
            data = await reader.read(65536)
            if not data:
                return Verdict(False, f'Get "http://{host}:{port}{action.get("path") or "/"}": EOF')
            parser.feed_data(data)
        code = parser.get_status_code()
        return Verdict(200 <= code < 400, f"HTTP probe failed with statuscode: {code}")
    finally:
        writer.close()


async def _exec(action: Object, running: Container) -> Verdict:
    session = await running.exec(action.get("command") or [], stdin=False, tty=False)
    output = bytearray()
    try:
        async for chunk in session.stdout():
            output += chunk[: 10240 - len(output)]
        async for chunk in session.stderr():
            output += chunk[: 10240 - len(output)]
        code = await session.wait()
    except asyncio.CancelledError:
        await session.abandon()
        raise
    return Verdict(code == 0, output.decode(errors="replace").strip())


async def ask(
    probe: Object, container: Object, running: Container, address: str, variables: dict[str, str]
) -> Verdict:
    """One question. A time-out and a refused connection are a No that says so."""
    timeout = float(probe.get("timeoutSeconds") or 1)
    try:
        async with asyncio.timeout(timeout):
            if "exec" in probe:
                command = [expand(word, variables) for word in probe["exec"].get("command") or []]
                return await _exec({"command": command}, running)
            if "httpGet" in probe:
                return await _http(probe["httpGet"], container, address)
            if "tcpSocket" in probe or "grpc" in probe:
                action = probe.get("tcpSocket") or probe["grpc"]
                host = action.get("host") or address
                _, writer = await asyncio.open_connection(host, port_of(container, action["port"]))
                writer.close()
                return Verdict(True)
    except TimeoutError:
        return Verdict(
            False, f"command timed out after {timeout:g}s" if "exec" in probe else "context deadline exceeded"
        )
    except (OSError, httptools.HttpParserError, ValueError) as error:
        return Verdict(False, f"dial tcp: {error}")
    return Verdict(True)


async def watch(
    probe: Object,
    question: Callable[[], Any],
    clock: Clock,
    *,
    on_change: Callable[[bool], None],
    on_failure: Callable[[str], None],
    until: Callable[[], bool],
    initial: bool,
) -> None:
    """Ask every period, starting after the initial delay; `on_change` when thresholds are crossed, `on_failure`
    at every No. Ends when `until` says so."""
    state = initial
    good = bad = 0
    await clock.sleep(float(probe.get("initialDelaySeconds") or 0))
    while not until():
        verdict: Verdict = await question()
        if verdict.ok:
            good, bad = good + 1, 0
        else:
            good, bad = 0, bad + 1
            on_failure(verdict.message)
        if verdict.ok and not state and good >= int(probe.get("successThreshold") or 1):
            state = True
            on_change(True)
        elif not verdict.ok and bad == int(probe.get("failureThreshold") or 3):
            state = False
            on_change(False)
        await clock.sleep(float(probe.get("periodSeconds") or 10))
