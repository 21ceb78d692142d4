"""The local HTTP server: web page, JSON, metrics, health, and the actions.

Whatever only reads is open; whatever changes something needs the token from the config file, or, without one, must
come from this machine. Requests that change something must be JSON, which a foreign web page cannot send unasked.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from ipaddress import ip_address
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod

from sungather.api import metrics, pages
from sungather.api.actions import ActionError, Actions
from sungather.application import Application
from sungather.errors import os_reason

log = logging.getLogger("sungather.api")


class Conversation(web.RequestHandler):
    """One connection. What is not HTTP, or no method that HTTP knows, is answered in JSON like all else."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        answer = _error(status, "the request cannot be understood")
        if isinstance(exc, BadHttpMethod):
            answer = _error(405, "Method Not Allowed")
            answer.headers["Allow"] = "GET,HEAD,POST"
        answer.force_close()
        return answer


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Server:
    """The routes, bound to one application."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._actions = Actions(application)
        self._token = application.settings.collector.api_token

    def routes(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=1 << 20)
        prefix = application_prefix(self._application)
        for path, handler in {
            "/": self._page,
            "/config": self._config,
            "/json": self._json,
            "/metrics": self._metrics,
            "/health": self._health,
            "/live": self._live,
            "/ready": self._ready,
        }.items():
            app.router.add_get(prefix + path, handler)
        if prefix:
            app.router.add_get(prefix, self._to_page)
        for name, action in self._actions.reading.items():
            app.router.add_get(f"{prefix}/api/{name}", self._action(action))
        for name, action in self._actions.changing.items():
            app.router.add_post(f"{prefix}/api/{name}", self._action(action))
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            refused = self._refusal(request)
            if refused is not None and request.match_info.http_exception is None:
                return refused
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status >= 400:
                allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
                return web.json_response({"error": error.reason}, status=error.status, headers=allowed)
            raise
        except Exception:
            log.exception("%s %s", request.method, request.path)
            return web.json_response({"error": "internal error; see the collector's log"}, status=500)

    def _refusal(self, request: web.Request) -> web.Response | None:
        """Why this request may not change anything, or None."""
        if request.content_type != "application/json":
            return _error(415, "send Content-Type: application/json")
        if self._token:
            given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                return _error(
                    401, "needs Authorization: Bearer and the collector: api_token: of the config file"
                )
            return None
        try:
            local = request.remote is None or request.remote == "" or ip_address(request.remote).is_loopback
        except ValueError:
            local = False
        forwarded = any(h in request.headers for h in ("X-Forwarded-For", "Forwarded", "X-Real-IP"))
        # a name that a foreign page made point at this machine is not this machine asking
        named = (request.url.host or "").lower()
        local = local and (named == "localhost" or _is_address(named))
        if not local or forwarded:
            return _error(403, "only this machine may do that; set collector: api_token: to allow others")
        return None

    def _action(self, action: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            try:
                parameters = dict(request.query)
                if request.method == "POST":
                    parameters = await _body(request)
                return web.json_response(await action(parameters))
            except ActionError as error:
                return _error(error.status, str(error))

        return handle

    async def _to_page(self, request: web.Request) -> web.StreamResponse:
        """The page's addresses are relative, so its own must end with a slash."""
        raise web.HTTPPermanentRedirect(request.path.rpartition("/")[2] + "/")

    async def _page(self, request: web.Request) -> web.Response:
        text = (files("sungather.api") / "page.html").read_text("utf-8")
        return web.Response(text=text, content_type="text/html", headers=_PAGE_HEADERS)

    async def _config(self, request: web.Request) -> web.Response:
        text = pages.config_page(self._application.settings.masked)
        return web.Response(text=text, content_type="text/html", headers=_PAGE_HEADERS)

    async def _json(self, request: web.Request) -> web.Response:
        content = pages.upstream_json(self._application)
        return web.json_response(content, status=200 if content["registers"] else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        openmetrics = "application/openmetrics-text" in request.headers.get("Accept", "")
        kind = "application/openmetrics-text; version=1.0.0" if openmetrics else "text/plain; version=0.0.4"
        text = metrics.render(self._application, openmetrics=openmetrics)
        return web.Response(body=text.encode(), headers={"Content-Type": f"{kind}; charset=utf-8"})

    async def _live(self, request: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _health(self, request: web.Request) -> web.Response:
        health = pages.health(self._application)
        return web.json_response(health, status=200 if health["fresh"] else 503)

    async def _ready(self, request: web.Request) -> web.Response:
        known = self._application.collector.snapshot is not None
        return web.json_response({"ready": known}, status=200 if known else 503)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def application_prefix(application: Application) -> str:
    prefix = application.settings.collector.path_prefix.strip("/")
    return f"/{prefix}" if prefix else ""


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)


async def _body(request: web.Request) -> dict[str, Any]:
    text = await request.text()
    if not text.strip():
        return {}
    try:
        parameters = json.loads(text)
    except ValueError as error:
        raise ActionError(f"the body is not JSON: {error}") from error
    if not isinstance(parameters, dict):
        raise ActionError("the body must be a JSON object")
    return parameters


@contextlib.asynccontextmanager
async def serve(application: Application) -> AsyncIterator[list[tuple[str, int]]]:
    """Listen where the config says; gives the (address, port) pairs. An address in use is logged, not fatal."""
    places: list[tuple[str | None, int]] = [
        (str(e.options["host"]) or None, int(e.options["port"]))
        for e in application.settings.exports
        if e.type == "webserver"
    ]
    if application.settings.collector.listen:
        address, _, number = application.settings.collector.listen.rpartition(":")
        places.append((address.strip("[]") or None, int(number)))
    runner = web.AppRunner(Server(application).routes(), shutdown_timeout=1.0)
    await runner.setup()
    manager, loop = runner.server, asyncio.get_running_loop()
    assert manager is not None
    listening: list[asyncio.Server] = []
    try:
        for host, port in places:
            try:
                listening.append(
                    await loop.create_server(lambda: Conversation(manager, loop=loop), host, port)
                )
            except OSError as error:
                reason = os_reason(error)
                log.error("web server: cannot listen on %s:%d: %s", host or "*", port, reason)
        bound = [s.getsockname()[:2] for server in listening for s in server.sockets]
        for ip, number in bound:
            shown = f"[{ip}]" if ":" in ip else ip
            log.info("web page on http://%s:%d%s/", shown, number, application_prefix(application))
        yield bound
    finally:
        for server in listening:
            server.close()
        await runner.cleanup()
