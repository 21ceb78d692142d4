"""One connection to an MQTT broker: connect, publish with acknowledgement, listen to one topic, keep alive."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sungather.errors import os_reason
from sungather.exports import mqtt_packets as mqtt
from sungather.exports.destination import Blocked, Later
from sungather.exports.mqtt_packets import Malformed, Message

_REFUSED_FOR_GOOD = (0x81, 0x85, 0x86, 0x87, 0x8A)


@dataclass(frozen=True)
class Broker:
    """Where and as whom to connect."""

    host: str
    port: int
    client_id: str
    user: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None
    timeout: float = 10.0
    keepalive: int = 30


class Connection:
    """An open connection. After closed is set it is of no more use."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, broker: Broker, version: int
    ) -> None:
        self._reader, self._writer, self._broker, self.version = reader, writer, broker, version
        self.closed = asyncio.Event()
        self.reason = ""
        self._next_id = 0
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._on_message: Callable[[Message], None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, broker: Broker, will: Message | None = None) -> Connection:
        """Connect; Later when the broker is not there, Blocked when it refuses us."""
        reason = 0
        for version in (5, 4):
            try:
                async with asyncio.timeout(broker.timeout):
                    connection, reason = await cls._attempt(broker, version, will)
            except TimeoutError:
                raise Later(f"{_where(broker)} did not answer within {broker.timeout:g} s") from None
            except ssl.SSLCertVerificationError as error:
                raise Blocked(
                    f"{_where(broker)}: the broker's certificate: {error.verify_message}"
                ) from error
            except ssl.SSLError as error:
                raise Later(f"{_where(broker)}: TLS failed: {error.reason}") from error
            except asyncio.IncompleteReadError:
                reason = 0x84  # brokers of the time before version 5 just hang up
                continue
            except Malformed as error:
                raise Later(f"{_where(broker)} does not speak MQTT: {error}") from error
            except OSError as error:
                raise Later(f"{_where(broker)}: {os_reason(error)}") from error
            if connection is not None:
                return connection
            if reason != 0x84:
                break
        told = mqtt.REASONS.get(reason, f"reason 0x{reason:02X}")
        if reason in _REFUSED_FOR_GOOD:
            raise Blocked(
                f"{_where(broker)} refused the connection: {told}; check username, password, client_id"
            )
        raise Later(f"{_where(broker)} refused the connection: {told}")

    @classmethod
    async def _attempt(
        cls, broker: Broker, version: int, will: Message | None
    ) -> tuple[Connection | None, int]:
        reader, writer = await asyncio.open_connection(broker.host, broker.port, ssl=broker.tls)
        connection = None
        try:
            writer.write(
                mqtt.connect(
                    version,
                    broker.client_id,
                    user=broker.user,
                    password=broker.password,
                    keepalive=broker.keepalive,
                    will=will,
                )
            )
            packet = await mqtt.receive(reader)
            if packet.kind != mqtt.CONNACK:
                raise Malformed(f"packet type {packet.kind} instead of CONNACK")
            reason = mqtt.connack_reason(version, packet.body)
            if reason == 0:
                connection = cls(reader, writer, broker, version)
                connection._tasks = [
                    asyncio.create_task(connection._listen()),
                    asyncio.create_task(connection._keep_alive()),
                ]
            return connection, reason
        finally:
            if connection is None:
                writer.transport.abort()

    async def publish(self, messages: Sequence[Message]) -> list[int]:
        """Send all, in order; the broker's reason code for each that it acknowledged before it went away."""
        futures: list[asyncio.Future[int]] = []
        loop = asyncio.get_running_loop()
        ids = []
        for message in messages:
            self._next_id = self._next_id % 65535 + 1
            future: asyncio.Future[int] = loop.create_future()
            if message.qos:
                self._waiting[self._next_id] = future
                ids.append(self._next_id)
            else:
                future.set_result(0)
            futures.append(future)
            self._writer.write(mqtt.publish(self.version, message, self._next_id))
        done: list[int] = []
        try:
            async with asyncio.timeout(self._broker.timeout):
                await self._writer.drain()
                for future in futures:
                    done.append(await future)  # noqa: PERF401 - what came before a failure counts
        except TimeoutError:
            self._end(f"no acknowledgement within {self._broker.timeout:g} s")
        except (OSError, ConnectionError) as error:
            self._end(str(error) or "connection lost")
        finally:
            for packet_id in ids:
                waiting = self._waiting.pop(packet_id, None)
                if waiting is not None and not waiting.done():
                    waiting.cancel()
        return done

    async def subscribe(self, topic: str, on_message: Callable[[Message], None]) -> None:
        """Listen to one topic; the answer is not waited for."""
        self._on_message = on_message
        self._next_id = self._next_id % 65535 + 1
        self._writer.write(mqtt.subscribe(self.version, topic, self._next_id))
        with contextlib.suppress(OSError):
            await self._writer.drain()

    async def _listen(self) -> None:
        try:
            while True:
                packet = await mqtt.receive(self._reader)
                if packet.kind == mqtt.PUBACK:
                    packet_id, reason = mqtt.puback_reason(packet.body)
                    future = self._waiting.pop(packet_id, None)
                    if future is not None and not future.done():
                        future.set_result(reason)
                elif packet.kind == mqtt.PUBLISH:
                    message, packet_id = mqtt.message_in(self.version, packet)
                    if message.qos == 1:
                        self._writer.write(mqtt.puback(packet_id))
                    if self._on_message:
                        self._on_message(message)
                elif packet.kind == mqtt.DISCONNECT:
                    reason = packet.body[0] if packet.body else 0
                    self._end(mqtt.REASONS.get(reason, f"broker disconnected (0x{reason:02X})"))
                    return
        except asyncio.IncompleteReadError:
            self._end("the broker closed the connection")
        except (OSError, Malformed) as error:
            self._end(str(error) or "connection lost")

    async def _keep_alive(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                await asyncio.sleep(self._broker.keepalive / 2)
                self._writer.write(mqtt.PINGREQ)
                await self._writer.drain()

    def _end(self, reason: str) -> None:
        if self.closed.is_set():
            return
        self.reason = reason
        self.closed.set()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionError(reason))
                future.exception()
        self._waiting.clear()
        self._writer.transport.abort()
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()

    async def close(self) -> None:
        """Say goodbye, so that the broker does not publish the last will."""
        if not self.closed.is_set():
            with contextlib.suppress(OSError, TimeoutError):
                self._writer.write(mqtt.GOODBYE)
                async with asyncio.timeout(0.5):
                    await self._writer.drain()
                self._writer.close()
                async with asyncio.timeout(0.5):
                    await self._writer.wait_closed()
        self._end("closed")


def _where(broker: Broker) -> str:
    return f"broker {broker.host}:{broker.port}"
