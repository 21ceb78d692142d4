"""kopf's part: watch TargetApps and pass every change on.

Raw event handlers are used on purpose: kopf then writes nothing into the objects, needs no finalizer (so a
deletion while the operator is down completes) and sends no Events of its own.

kopf runs in a thread with an event loop of its own: when it ends it cancels every task of its loop that it
does not know, and running actions must not be among them.
"""

import asyncio
import base64
import logging
import threading
from collections.abc import Callable
from typing import Any, cast

import kopf

from kco.spec.targetapp import GROUP, VERSION
from operator_kit.kube.client import KubeClient

Observe = Callable[[dict[str, Any]], None]
Vanished = Callable[[str], None]


def build_registry(
    observe: Observe, vanished: Vanished, began: Callable[[], None], client: KubeClient
) -> kopf.OperatorRegistry:
    """A kopf registry with this operator's handlers."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.networking.request_timeout = 60
        settings.watching.server_timeout = 240
        settings.queueing.exit_timeout = 1.0
        began()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await connection_info(client)

    @kopf.on.event(GROUP, VERSION, "targetapps", registry=registry)
    async def changed(type: str | None, body: kopf.Body, **_: Any) -> None:
        if type == "DELETED":
            vanished(body["metadata"]["uid"])
        else:
            observe(dict(body))

    return registry


async def connection_info(client: KubeClient) -> kopf.ConnectionInfo:
    """The client's configuration in kopf's words, so that both talk to the same cluster as the same user."""
    config = client.config

    def encode(text: str | None) -> bytes | None:
        return base64.b64encode(text.encode()) if text else None

    return kopf.ConnectionInfo(
        server=config.server,
        ca_data=encode(config.certificate_authority),
        insecure=config.insecure or None,
        certificate_data=encode(config.client_certificate),
        private_key_data=encode(config.client_key),
        token=await config.bearer(),
        username=config.username,
        password=config.password,
        default_namespace=config.namespace,
    )


def _is_no_remark_on_signals(entry: logging.LogRecord) -> bool:
    """kopf warns that it ignores signals outside the main thread; they are the process's own business here."""
    return not entry.getMessage().startswith("OS signals are ignored")


class Watch:
    """kopf in a thread; `observe`, `vanished` and `began` are called in the loop that called `start`."""

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        identity: str,
        observe: Observe,
        vanished: Vanished,
        began: Callable[[], None],
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._identity = identity
        self._observe = observe
        self._vanished = vanished
        self._began = began
        self._stopping = False
        self._operating: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._thread: threading.Thread | None = None
        self.ended: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Begin to watch; `ended` is resolved when kopf has ended, with its failure if there was one."""
        loop = asyncio.get_running_loop()
        ended = self.ended = loop.create_future()
        registry = build_registry(
            lambda body: self._in(loop, self._observe, body),
            lambda uid: self._in(loop, self._vanished, uid),
            lambda: self._in(loop, lambda _: self._began(), None),
            self._client,
        )

        def finish(failure: BaseException | None) -> None:
            if not ended.done():
                if failure is None:
                    ended.set_result(None)
                else:
                    ended.set_exception(failure)

        def work() -> None:
            failure: BaseException | None = None
            try:
                asyncio.run(self._operate(registry))
            except asyncio.CancelledError:
                pass
            except Exception as caught:
                failure = caught
            self._in(loop, finish, failure)

        self._thread = threading.Thread(target=work, name="kopf", daemon=True)
        self._thread.start()

    async def stop(self, seconds: float = 10.0) -> None:
        """End kopf and wait for its thread.

        Cancelled, kopf ends at once; asked by its stop flag, it waits five seconds for what it had just begun.
        """
        self._stopping = True
        # Requests that end with it are no failures, but kopf calls them so.
        logging.getLogger("kopf").setLevel(logging.CRITICAL)
        if self._operating is not None:
            loop, task = self._operating
            self._in(loop, task.cancel, None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, seconds)

    @staticmethod
    def _in(loop: asyncio.AbstractEventLoop, call: Callable[[Any], object], argument: Any) -> None:
        # The loop may be closed already while the process ends; there is nobody left to tell then.
        if not loop.is_closed():
            try:
                loop.call_soon_threadsafe(call, argument)
            except RuntimeError:
                return

    async def _operate(self, registry: kopf.OperatorRegistry) -> None:
        logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLogger().level))
        logging.getLogger("kopf._core.reactor.running").addFilter(_is_no_remark_on_signals)
        task = asyncio.current_task()
        assert task is not None
        self._operating = asyncio.get_running_loop(), task
        if self._stopping:
            return
        await kopf.operator(
            registry=registry,
            standalone=True,
            # Else kopf asks for the name of the user, and the user of an image has none. (Its type is private.)
            identity=cast(Any, self._identity),
            clusterwide=not self._namespace,
            namespaces=[self._namespace] if self._namespace else [],
        )
