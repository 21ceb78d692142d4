"""The encrypted variant ("sungrow"): Modbus TCP frames inside AES-128-ECB, with a key from a short handshake.

Facts (spec/sungather.md, 4.1): the client sends GET_KEY; the 25-byte reply carries 16 bytes at offset 9. All zero or
all 0xFF means no encryption. Otherwise key = those bytes XOR a fixed secret that the open clients publish. A frame is
(1, 0, length, padding) and the encrypted rest, in which 0x68 0x68 stands for the transaction id. The key is good
for one calendar day. One reply's length has one byte: at most 123 words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sungather.clock import Clock
from sungather.transports.modbus import Questions, check_reply, connect, end
from sungather.transports.transport import (
    Asked,
    BrokenReply,
    NoKey,
    NoReply,
    Outcome,
    Unreachable,
    one_by_one,
)

GET_KEY = bytes.fromhex("68680000 0006f704 0ae70008")
SECRET = b"Grow#0*2Sun68CbE"
_NO_KEY = (b"\0" * 16, b"\xff" * 16)
_MARK = b"\x68\x68"


class Cipherbox:
    """Encrypts requests and decrypts replies with one day's key."""

    def __init__(self, offered: bytes) -> None:
        key = bytes(a ^ b for a, b in zip(offered, SECRET, strict=True))
        # the protocol fixes ECB; it hides nothing from those who have the published secret
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())

    def seal(self, rest: bytes) -> bytes:
        """A whole frame around `rest`: the Modbus TCP frame without its transaction id."""
        length = len(rest) + 2
        padding = 16 - length % 16
        sealer = self._cipher.encryptor()
        body = sealer.update(_MARK + rest + b"\xff" * padding) + sealer.finalize()
        return bytes((1, 0, length, padding)) + body

    def unseal(self, header: bytes, body: bytes) -> bytes:
        """The Modbus TCP frame without its transaction id."""
        opener = self._cipher.decryptor()
        plain = opener.update(body) + opener.finalize()
        if plain[:2] != _MARK:
            raise BrokenReply("reply does not decrypt with today's key")
        return plain[2 : header[2]]


class EncryptedModbus(Questions):
    """Encrypted Modbus TCP; falls to plain frames when the inverter offers no key."""

    max_words = 123

    def __init__(self, host: str, port: int, *, unit: int, timeout: float, clock: Clock) -> None:
        self.name = f"sungrow://{host}:{port}"
        self._host, self._port, self._unit, self._timeout, self._clock = host, port, unit, timeout, clock
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._box: Cipherbox | None = None
        self._key_day: date | None = None

    async def open(self) -> None:
        """One connection when the day's key is known, else two: the inverter ends the one that fetched the key."""
        await self.close()
        if self._key_day != self._clock.local().date():
            await self._fetch_key()
        self._reader, self._writer = await connect(self._host, self._port, self._timeout)

    async def close(self) -> None:
        writer, self._reader, self._writer = self._writer, None, None
        await end(writer)

    def forget_key(self) -> None:
        self._key_day = None

    async def _fetch_key(self) -> None:
        self._key_day = None
        reader, writer = await connect(self._host, self._port, self._timeout)
        try:
            async with asyncio.timeout(self._timeout):
                writer.write(GET_KEY)
                await writer.drain()
                reply = await reader.readexactly(25)
        except TimeoutError:
            raise NoKey(f"no key within {self._timeout:g} s") from None
        except asyncio.IncompleteReadError as error:
            raise BrokenReply(f"key reply has {len(error.partial)} bytes instead of 25") from error
        except OSError as error:
            raise BrokenReply(f"connection lost in the key exchange: {error}") from error
        finally:
            await end(writer)
        offered = reply[9:25]
        self._box = None if offered in _NO_KEY else Cipherbox(offered)
        self._key_day = self._clock.local().date()

    async def read_all(self, asked: Sequence[Asked]) -> list[Outcome]:
        return await one_by_one(self, asked)

    async def _ask(self, request: bytes) -> bytes:
        if self._reader is None or self._writer is None:
            raise Unreachable("no open session")
        rest = b"\0\0" + (len(request) + 1).to_bytes(2, "big") + bytes((self._unit,)) + request
        frame = self._box.seal(rest) if self._box else _MARK + rest
        try:
            async with asyncio.timeout(self._timeout):
                self._writer.write(frame)
                await self._writer.drain()
                answer = await self._receive(self._reader)
        except TimeoutError:
            self.forget_key()
            raise NoReply(f"no complete reply within {self._timeout:g} s") from None
        except asyncio.IncompleteReadError as error:
            self.forget_key()
            raise BrokenReply(f"connection ended after {len(error.partial)} bytes of a reply") from error
        except OSError as error:
            self.forget_key()  # an inverter may reset who comes with an old key
            raise BrokenReply(f"connection lost: {error}") from error
        except BrokenReply:
            self.forget_key()
            raise
        return check_reply(request, answer)

    async def _receive(self, reader: asyncio.StreamReader) -> bytes:
        if self._box:
            header = await reader.readexactly(4)
            size = header[2] + header[3]
            if header[0] != 1 or size == 0 or size % 16:
                raise BrokenReply(f"not an encrypted reply: {header.hex()}")
            rest = self._box.unseal(header, await reader.readexactly(size))
        else:
            start = await reader.readexactly(6)
            if start[:2] != _MARK:
                raise BrokenReply(f"reply to request {start[:2].hex()}, asked {_MARK.hex()}")
            rest = start[2:] + await reader.readexactly(int.from_bytes(start[4:6], "big"))
        length = int.from_bytes(rest[2:4], "big")
        if rest[:2] != b"\0\0" or length < 2 or len(rest) < 4 + length:
            raise BrokenReply("the reply's inner frame is cut short or not Modbus")
        if rest[4] != self._unit:
            raise BrokenReply(f"reply from unit {rest[4]}, asked unit {self._unit}")
        return rest[5 : 4 + length]
