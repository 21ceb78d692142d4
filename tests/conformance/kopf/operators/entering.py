"""How an operator gets into the cluster: LOGIN chooses; start-up, clean-up and failing activities."""

import os
from typing import Any

import aiohttp
import kopf
from journal import note

LOGIN = os.environ.get("LOGIN", "")
if LOGIN:

    @kopf.on.login(retries=3, backoff=0.1)
    async def login(retry: int, **kwargs: Any) -> Any:
        note("login", by=LOGIN, retry=retry)
        if LOGIN == "kubeconfig":
            if retry < 1:
                raise kopf.TemporaryError("the first attempt fails", delay=0.1)
            return kopf.login_with_kubeconfig(**kwargs)
        if LOGIN == "service account":
            return kopf.login_with_service_account(**kwargs)
        if LOGIN == "token":
            return kopf.ConnectionInfo(
                server=os.environ["SERVER"],
                ca_path=os.environ["CA"],
                scheme="Bearer",
                token=os.environ["TOKEN"],
                default_namespace="default",
            )
        known = kopf.login_with_kubeconfig(**kwargs)
        assert known is not None
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=known.as_ssl_context(), limit=10),
            headers={**known.as_http_headers(), "X-Extra": "yes"},
        )
        return kopf.AiohttpSession(
            aiohttp_session=session, server=known.server, default_namespace=known.default_namespace
        )


@kopf.on.startup(retries=3, backoff=0.1)
async def started(retry: int, settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    note("startup", retry=retry, watching=settings.watching.server_timeout)
    settings.watching.server_timeout = 2
    settings.watching.client_timeout = 3
    settings.networking.request_timeout = 20
    memo.startups = retry
    if retry < 1:
        raise ValueError("once more")


@kopf.on.cleanup()
async def ended(memo: kopf.Memo, **_: Any) -> None:
    note("cleanup", startups=memo.startups)


@kopf.on.create("samples")
def created(name: str, **_: Any) -> None:
    note("created", name=name)
