"""TLS over any Duplex: what is written is encrypted, what is read is decrypted."""

from __future__ import annotations

import ssl

from slipway.cluster.exchange import Duplex


class TlsDuplex:
    """A Duplex within another, from `handshake` on."""

    def __init__(self, carrier: Duplex, context: ssl.SSLContext, server_name: str) -> None:
        self._carrier = carrier
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    async def handshake(self) -> None:
        """OSError (ssl.SSLError is one) when the two ends do not agree."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._more():
                    raise ConnectionResetError("EOF") from None
                continue
            await self._flush()
            return

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._carrier.write(self._outgoing.read())

    async def _more(self) -> bool:
        data = await self._carrier.read()
        if data:
            self._incoming.write(data)
        return bool(data)

    async def read(self) -> bytes:
        while True:
            try:
                return self._tls.read(64 * 1024)
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._more():
                    return b""
            except ssl.SSLError:  # the other end closed, or spoke something else: no more data either way
                return b""

    async def write(self, data: bytes) -> None:
        if data:
            self._tls.write(data)
        await self._flush()

    async def close(self) -> None:
        await self._carrier.close()
