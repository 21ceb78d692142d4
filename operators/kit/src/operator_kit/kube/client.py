"""Requests to one API server: JSON in, JSON out, refusals as `ApiFailure`.

Reads and creations with a name are retried on answers that promise to pass (429, 5xx, no answer) a few
times; anything else is the caller's decision.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from operator_kit.kube.config import ClusterConfig
from operator_kit.kube.failure import ApiFailure

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

Object = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """An endpoint's coordinates; `group` is empty for the core group."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/" + "/".join(quote(part, safe="") for part in parts)


PODS = Resource("", "v1", "pods")
EVENTS = Resource("", "v1", "events")
SECRETS = Resource("", "v1", "secrets")
CONFIG_MAPS = Resource("", "v1", "configmaps")
SERVICES = Resource("", "v1", "services")
LEASES = Resource("coordination.k8s.io", "v1", "leases")


class KubeClient:
    """One cluster, one identity, one pool of connections. Use `async with`, or `close()` it."""

    def __init__(
        self,
        config: ClusterConfig,
        *,
        timeout: float = 30.0,
        attempts: int = 4,
        user_agent: str = "slipway-kit",
        impersonate: str | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self.config = config
        self._timeout = timeout
        self._attempts = attempts
        self._user_agent = user_agent
        self._impersonate = impersonate
        self._session = session
        self._owns_session = session is None
        self._ssl: Any = None
        self._bearer: str | None = None
        self._resources: dict[tuple[str, str], Resource] = {}
        self.last_answer_at: float | None = None

    async def __aenter__(self) -> "KubeClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None and self._owns_session:
            await self._session.close()
        self._session = None

    def impersonating(self, user: str) -> "KubeClient":
        """The same connections, acting as somebody else (`system:serviceaccount:<namespace>:<name>`)."""
        other = KubeClient(
            self.config,
            timeout=self._timeout,
            attempts=self._attempts,
            user_agent=self._user_agent,
            impersonate=user,
            session=self._open(),
        )
        other._ssl, other._bearer, other._resources = self._ssl, self._bearer, self._resources
        return other

    # -- objects -----------------------------------------------------------------------------------------

    async def get(
        self, resource: Resource, namespace: str | None, name: str, subresource: str = ""
    ) -> Object:
        return await self.request("GET", resource.path(namespace, name, subresource or None))

    async def list(self, resource: Resource, namespace: str | None = None, **options: str) -> Object:
        """All objects (pages of 500 are joined), as one List object."""
        options.setdefault("limit", "500")
        whole = await self.request("GET", resource.path(namespace), query=options)
        token = (whole.get("metadata") or {}).get("continue")
        while token:
            page = await self.request("GET", resource.path(namespace), query={**options, "continue": token})
            whole["items"] = [*(whole.get("items") or []), *(page.get("items") or [])]
            token = (page.get("metadata") or {}).get("continue")
        return whole

    async def create(
        self,
        resource: Resource,
        namespace: str | None,
        body: Object,
        *,
        name: str = "",
        subresource: str = "",
    ) -> Object:
        path = resource.path(namespace, name or None, subresource or None)
        return await self.request("POST", path, body=body)

    async def replace(self, resource: Resource, namespace: str | None, name: str, body: Object) -> Object:
        return await self.request("PUT", resource.path(namespace, name), body=body)

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Any,
        *,
        media_type: str = MERGE_PATCH,
        subresource: str = "",
        query: Mapping[str, str] | None = None,
    ) -> Object:
        path = resource.path(namespace, name, subresource or None)
        return await self.request("PATCH", path, body=body, media_type=media_type, query=query)

    async def delete(
        self, resource: Resource, namespace: str | None, name: str, body: Object | None = None
    ) -> Object:
        return await self.request("DELETE", resource.path(namespace, name), body=body)

    async def resource_of(self, api_version: str, kind: str) -> Resource:
        """Where a kind is served, by discovery; the answer is kept."""
        known = self._resources.get((api_version, kind))
        if known is not None:
            return known
        group, _, version = api_version.rpartition("/")
        listing = await self.request("GET", f"/apis/{group}/{version}" if group else f"/api/{version}")
        for entry in listing.get("resources") or []:
            if "/" not in entry["name"]:
                self._resources[(api_version, entry["kind"])] = Resource(
                    group, version, entry["name"], bool(entry["namespaced"])
                )
        if (api_version, kind) not in self._resources:
            raise ApiFailure(404, "NotFound", f"the server has no kind {kind!r} in {api_version}")
        return self._resources[(api_version, kind)]

    async def watch(
        self, resource: Resource, namespace: str | None, *, since: str, seconds: float = 240, **options: str
    ) -> AsyncGenerator[tuple[str, Object], None]:
        """Changes after `since` until the server ends the stream; an ERROR event is raised as `ApiFailure`."""
        query = {
            "watch": "true",
            "resourceVersion": since,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(seconds)),
            **options,
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=seconds + 30)
        async with self.open("GET", resource.path(namespace), query=query, timeout=timeout) as answer:
            buffer = b""
            async for chunk in answer.content.iter_any():
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        event = orjson.loads(line)
                        if event["type"] == "ERROR":
                            status = event["object"]
                            raise ApiFailure.from_answer(
                                int(status.get("code") or 500), status, retry_after=None, request="watch"
                            )
                        yield event["type"], event["object"]

    # -- requests ----------------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        media_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Object:
        """One answer, retried while it may pass (never for a POST without an answer: it may have landed)."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._once(method, path, body, media_type, query)
            except ApiFailure as failure:
                blind = failure.code in (0, 500, 502, 504) and method == "POST"
                if not failure.transient or blind or attempt >= self._attempts:
                    raise
                if failure.code == 401:
                    self._bearer = None
                wait = failure.retry_after
                if wait is None:
                    wait = min(4.0, 0.2 * 2**attempt) * random.uniform(0.5, 1.0)
                await asyncio.sleep(min(wait, 30.0))

    async def _once(
        self, method: str, path: str, body: Any, media_type: str, query: Mapping[str, str] | None
    ) -> Object:
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        async with self.open(
            method, path, body=body, media_type=media_type, query=query, timeout=timeout
        ) as answer:
            raw = await answer.read()
        parsed = orjson.loads(raw) if raw else {}
        return parsed if isinstance(parsed, dict) else {"value": parsed}

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        media_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The raw answer of one request; refusals and broken connections are `ApiFailure`."""
        request = f"{method} {path}"
        headers = {**await self.headers(), "Accept": "application/json"}
        data = None
        if body is not None:
            headers["Content-Type"] = media_type
            data = orjson.dumps(body)
        try:
            async with self._open().request(
                method,
                self.config.server + path,
                data=data,
                headers=headers,
                params=dict(query or {}),
                timeout=timeout,
                ssl=self._ssl if self._ssl is not None else True,
                allow_redirects=False,
                server_hostname=self.config.tls_server_name,
            ) as answer:
                if answer.status >= 300:
                    await self._refuse(answer, request)
                self.last_answer_at = asyncio.get_running_loop().time()
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            text = str(failure) or type(failure).__name__
            raise ApiFailure(0, type(failure).__name__, f"{request}: {text}", request=request) from None

    async def headers(self) -> dict[str, str]:
        """Identity of every request of this client."""
        if self._bearer is None or self.config.token_file is not None:
            self._bearer = await self.config.bearer()
        headers = {"User-Agent": self._user_agent}
        if self._bearer:
            headers["Authorization"] = f"Bearer {self._bearer}"
        elif self.config.username:
            headers["Authorization"] = aiohttp.BasicAuth(
                self.config.username, self.config.password or ""
            ).encode()
        if self._impersonate:
            headers["Impersonate-User"] = self._impersonate
        return headers

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._ssl = self.config.ssl_context()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=100, keepalive_timeout=60)
            )
        return self._session

    @property
    def session(self) -> aiohttp.ClientSession:
        return self._open()

    @property
    def tls(self) -> Any:
        self._open()
        return self._ssl

    async def _refuse(self, answer: aiohttp.ClientResponse, request: str) -> None:
        raw = await answer.read()
        try:
            body: Any = orjson.loads(raw)
        except orjson.JSONDecodeError:
            body = raw.decode(errors="replace")
        after = answer.headers.get("Retry-After", "")
        raise ApiFailure.from_answer(
            answer.status, body, retry_after=float(after) if after.isdigit() else None, request=request
        )
