"""HTTP to one web service: a session that opens at the first request, and its failures as Later."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from sungather.errors import os_reason
from sungather.exports.destination import Later

_LONGEST_REPLY = 65536


@dataclass(frozen=True)
class Reply:
    """What the service said."""

    status: int
    text: str
    headers: Mapping[str, str]

    def __str__(self) -> str:
        return f"HTTP {self.status}: {' '.join(self.text.split())[:200]}"


class WebService:
    """`name` is what the owner calls it, in messages."""

    def __init__(self, name: str, timeout: float) -> None:
        self._name, self._timeout = name, timeout
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self,
        method: str,
        url: str,
        data: bytes | Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request. Later when there is no reply, or none in time."""
        if self._session is None:
            limit = aiohttp.ClientTimeout(total=self._timeout)
            self._session = aiohttp.ClientSession(timeout=limit, trust_env=True)
        try:
            async with self._session.request(method, url, data=data, headers=headers) as response:
                text = (await response.content.read(_LONGEST_REPLY)).decode("utf-8", "replace")
                return Reply(response.status, text, response.headers)
        except TimeoutError:
            raise Later(f"{self._name} did not answer within {self._timeout:g} s") from None
        except (aiohttp.ClientError, asyncio.IncompleteReadError, OSError) as error:
            reason = os_reason(error) if isinstance(error, OSError) else str(error) or type(error).__name__
            raise Later(f"{self._name}: {reason}") from error

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()
