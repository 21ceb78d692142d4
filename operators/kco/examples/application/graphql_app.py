"""A GraphQL application whose answers and faults can be turned: for examples, tests and the demo.

    python graphql_app.py --port 8080 --schema daemon.graphql --state state.json

`POST /graphql` executes real GraphQL (graphql-core) over a JSON state; `GET /graphql` upgrades to
graphql-transport-ws. `POST /control` turns it: `{"state": {...}}` merges into the state, `{"fault": "hang"}`
switches a fault on (`null`: off), `{"heal_on_start": ...}` is kept by the caller. `GET /control` gives state
and counters. `GET /healthz` answers 200.
"""

import argparse
import asyncio
import json
import ssl
import time
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web
from graphql import GraphQLError, GraphQLSchema, build_schema, graphql_sync, parse, specified_rules, validate
from graphql.validation import NoSchemaIntrospectionCustomRule

SCHEMA = """
type Query { application: Application, nodes: [Node!] }
type Subscription { application: Application }
type Mutation { reset: Boolean }
type Application { status: String, health: Health, pendingTasks: Int, load: Float, lastError: String, secret: String }
enum Health { healthy degraded unhealthy }
type Node { name: String, status: String }
"""
STATE: dict[str, Any] = {
    "application": {
        "status": "running",
        "health": "healthy",
        "pendingTasks": 0,
        "load": 0.1,
        "lastError": None,
        "secret": None,
    },
    "nodes": [{"name": "a", "status": "up"}, {"name": "b", "status": "up"}],
}
FAULTS = (
    "hang",
    "slow",
    "status:500",
    "html",
    "invalid_json",
    "huge",
    "wrong_type",
    "errors",
    "partial",
    "redirect",
    "reset",
    "nan",
    "deep",
    "no_introspection",
)


class Application:
    """One server: a state, a fault, counters."""

    def __init__(self, schema: str = SCHEMA, state: dict[str, Any] | None = None) -> None:
        self.schema: GraphQLSchema = build_schema(schema)
        self.state: dict[str, Any] = json.loads(json.dumps(STATE if state is None else state))
        self.fault: str | None = None
        self.requests = 0
        self.connections: set[int] = set()
        self.queries: list[str] = []
        self.headers: dict[str, str] = {}
        self.changed_at = time.time()
        self.delay = 1.0
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.port = 0

    # -- turning -----------------------------------------------------------------------------------------

    def turn(self, **parts: Any) -> None:
        """Merge into the state: `turn(application={"health": "unhealthy"})`."""
        _merge(self.state, parts)
        self.changed_at = time.time()
        self._changed.set()
        self._changed = asyncio.Event()

    # -- life --------------------------------------------------------------------------------------------

    async def start(self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        application = web.Application()
        application.router.add_post("/graphql", self._graphql)
        application.router.add_get("/graphql", self._socket)
        application.router.add_post("/control", self._control)
        application.router.add_get("/control", self._reading)
        application.router.add_get("/healthz", self._health)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, ssl_context=tls).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/graphql"

    # -- answers -----------------------------------------------------------------------------------------

    async def _graphql(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.connections.add(id(request.transport))
        self.headers = dict(request.headers)
        question = await request.json()
        self.queries.append(str(question.get("query", "")))
        del self.queries[:-100]
        if self.fault is not None:
            answer = await self._faulty(request, self.fault)
            if answer is not None:
                return answer
        body = self._execute(question)
        if self.fault == "partial":
            body["errors"] = [{"message": "one field could not be read"}]
        return web.json_response(body)

    def _execute(self, question: dict[str, Any]) -> dict[str, Any]:
        text = str(question.get("query", ""))
        if self.fault == "no_introspection":
            try:
                wrong = validate(
                    self.schema, parse(text), [*specified_rules, NoSchemaIntrospectionCustomRule]
                )
            except GraphQLError as failure:
                wrong = [failure]
            if wrong:
                return {"errors": [{"message": failure.message} for failure in wrong]}
        result = graphql_sync(
            self.schema,
            text,
            root_value=self.state,
            variable_values=question.get("variables"),
            operation_name=question.get("operationName"),
        )
        body: dict[str, Any] = {"data": result.data}
        if result.errors:
            body["errors"] = [{"message": failure.message} for failure in result.errors]
        return body

    async def _faulty(self, request: web.Request, fault: str) -> web.StreamResponse | None:
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "slow":
            await asyncio.sleep(self.delay)
            return None
        if fault.startswith("status:"):
            headers = {"Retry-After": "1"} if fault.endswith(("429", "503")) else {}
            return web.Response(status=int(fault.partition(":")[2]), text="no", headers=headers)
        if fault == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        bodies = {
            "html": ("<html>maintenance</html>", "text/html"),
            "invalid_json": ('{"data": {', "application/json"),
            "huge": ('{"data": {"application": "' + "x" * 3_000_000 + '"}}', "application/json"),
            "wrong_type": ('{"data": [1, 2]}', "application/json"),
            "errors": ('{"errors": [{"message": "no such field"}]}', "application/json"),
            "nan": ('{"data": {"application": {"load": NaN}}}', "application/json"),
            "deep": ('{"data": {"a": ' + "[" * 200 + "]" * 200 + "}}", "application/json"),
        }
        if fault == "redirect":
            return web.Response(status=302, headers={"Location": "/elsewhere"})
        if fault in bodies:
            text, kind = bodies[fault]
            return web.Response(text=text, content_type=kind)
        return None

    async def _control(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        if "fault" in wanted:
            self.fault = wanted["fault"]
        if isinstance(wanted.get("state"), dict):
            self.turn(**wanted["state"])
        return await self._reading(request)

    async def _reading(self, _: web.Request) -> web.Response:
        return web.json_response({"state": self.state, "fault": self.fault, "requests": self.requests})

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    # -- graphql-transport-ws ----------------------------------------------------------------------------

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("graphql-transport-ws",))
        await socket.prepare(request)
        streams: set[asyncio.Task[None]] = set()
        try:
            async for message in socket:
                if message.type != WSMsgType.TEXT:
                    continue
                said = json.loads(message.data)
                if said["type"] == "connection_init":
                    await socket.send_json({"type": "connection_ack"})
                elif said["type"] == "ping":
                    await socket.send_json({"type": "pong"})
                elif said["type"] == "subscribe":
                    streams.add(asyncio.create_task(self._stream(socket, said["id"], said["payload"])))
        finally:
            for stream in streams:
                stream.cancel()
        return socket

    async def _stream(self, socket: web.WebSocketResponse, key: str, question: dict[str, Any]) -> None:
        # The schema's Subscription has the fields of Query, so a state change is the same selection again.
        text = str(question["query"]).replace("subscription", "query", 1)
        while not socket.closed:
            changed = self._changed
            body = self._execute({**question, "query": text})
            await socket.send_json({"id": key, "type": "next", "payload": body})
            await changed.wait()


def _merge(state: dict[str, Any], parts: dict[str, Any]) -> None:
    for key, value in parts.items():
        if isinstance(value, dict) and isinstance(state.get(key), dict):
            _merge(state[key], value)
        else:
            state[key] = value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--schema", type=Path, help="SDL file")
    parser.add_argument("--state", type=Path, help="JSON file with the first state")
    options = parser.parse_args()

    async def serve() -> None:
        schema = options.schema.read_text() if options.schema else SCHEMA
        state = json.loads(options.state.read_text()) if options.state else None
        application = Application(schema, state)
        await application.start(options.host, options.port)
        await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
