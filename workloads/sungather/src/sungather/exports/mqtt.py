"""The MQTT export: upstream's JSON state, Home Assistant discovery, availability with a last will.

Each queued item is one state message. It is taken off the queue when the broker has acknowledged it (QoS 1).
Additions to upstream's JSON: reading_id (drop a repeat by it) and reading_time (when the inverter was read, UTC).
"""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sungather.configuration.settings import InverterSettings
from sungather.exports import discovery
from sungather.exports.destination import Blocked, Delivery, Item, Later
from sungather.exports.mqtt_connection import Broker, Connection
from sungather.exports.mqtt_packets import REASONS, Message
from sungather.exports.upstream_shape import clean_model, client_config, inverter_config
from sungather.readings.snapshot import Snapshot
from sungather.registers.scan import Identity

log = logging.getLogger("sungather.mqtt")

_HOME_ASSISTANT = "homeassistant/status"


class Mqtt:
    """One broker."""

    batch = 50

    def __init__(
        self,
        options: Mapping[str, Any],
        inverter: InverterSettings,
        identity: Callable[[], Identity | None],
        unit_of: Callable[[str], str | None],
    ) -> None:
        self._options, self._inverter, self._identity, self._unit_of = options, inverter, identity, unit_of
        self._connection: Connection | None = None
        self._connected_as: Identity | None = None
        self._discovery_due = False

    def _serial(self) -> str:
        identity = self._identity()
        if identity is None or not identity.serial:
            raise Later("waiting for the inverter's serial number, which names the topic", 5)
        return identity.serial

    def _topic(self, serial: str) -> str:
        topic = self._options["topic"] or "SunGather/{serial_number}"
        return str(topic).replace("{serial_number}", serial)

    def prepare(self, snapshot: Snapshot) -> str:
        state: dict[str, Any] = inverter_config(self._inverter, snapshot.identity) | client_config(
            self._inverter
        )
        state |= {reading.name: reading.value for reading in snapshot.shown().values()}
        state["serial_number"] = snapshot.identity.serial
        state["reading_id"] = snapshot.id
        state["reading_time"] = snapshot.taken.isoformat()
        return json.dumps(state)

    async def deliver(self, items: Sequence[Item]) -> Delivery:
        connection = await self._ready()
        topic = self._topic(self._serial())
        retain = bool(self._options["retain"])
        codes = await connection.publish([Message(topic, i.payload.encode(), retain) for i in items])
        delivery = Delivery()
        for item, code in zip(items, codes, strict=False):
            if code < 0x80:
                delivery.sent.append(item)
            elif code == 0x87:
                if not delivery.sent:
                    raise Blocked(f"the broker does not allow publishing to {topic}")
                break
            elif code == 0x97:
                break
            else:
                delivery.rejected.append((item, REASONS.get(code, f"reason 0x{code:02X}")))
        if not delivery.sent and not delivery.rejected:
            raise Later(self._lost(connection))
        return delivery

    def _lost(self, connection: Connection) -> str:
        return f"connection to the broker lost: {connection.reason or 'no acknowledgement'}"

    async def idle(self) -> None:
        identity = self._identity()
        if identity is not None and identity.serial:
            await self._ready()

    async def _ready(self) -> Connection:
        serial = self._serial()
        identity = self._identity()
        if self._connection and (self._connection.closed.is_set() or self._connected_as != identity):
            if self._connection.reason:
                log.info("%s", self._lost(self._connection))
            await self.close()
        if self._connection is None:
            self._connection = await self._connect(serial)
            self._connected_as = identity
            self._discovery_due = bool(self._options["homeassistant"])
            if self._options["homeassistant"]:
                await self._connection.subscribe(_HOME_ASSISTANT, self._on_home_assistant)
        if self._discovery_due:
            await self._announce(self._connection, serial)
        return self._connection

    async def _connect(self, serial: str) -> Connection:
        broker = Broker(
            self._options["host"],
            self._options["port"],
            self._options["client_id"] or serial,
            self._options["username"],
            self._options["password"],
            self._tls(),
            self._inverter.timeout,
        )
        if not self._options["availability"]:
            return await Connection.open(broker)
        topic = f"{self._topic(serial)}/availability"
        connection = await Connection.open(broker, Message(topic, b"offline", retain=True))
        if await connection.publish([Message(topic, b"online", retain=True)]) == []:
            raise Later(self._lost(connection))
        return connection

    def _tls(self) -> ssl.SSLContext | None:
        wanted = self._options["tls"]
        if wanted is False or (wanted is None and self._options["port"] != 8883):
            return None
        try:
            context = ssl.create_default_context(cafile=self._options["tls_ca"])
        except (OSError, ssl.SSLError) as error:
            raise Blocked(f"tls_ca {self._options['tls_ca']}: {error}") from error
        if self._options["tls_insecure"]:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _on_home_assistant(self, message: Message) -> None:
        if message.payload == b"online" and not message.retain:
            self._discovery_due = True

    def announcements(self) -> list[Message]:
        """The discovery messages for the inverter as known now."""
        identity, serial = self._identity(), self._serial()
        assert identity is not None
        topic = self._topic(serial)
        messages = []
        for sensor in self._options["ha_sensors"] or ():
            register = sensor.get("register")
            unit = self._unit_of(register) if register else ""
            if unit is None:
                log.warning("no sensor %r: register %s is not read at this level", sensor["name"], register)
                continue
            content = discovery.payload(
                sensor,
                serial=serial,
                model=clean_model(identity),
                host=self._inverter.host,
                state_topic=topic,
                unit=unit,
                availability_topic=f"{topic}/availability" if self._options["availability"] else None,
            )
            messages.append(
                Message(discovery.topic(sensor, serial), json.dumps(content).encode(), retain=True)
            )
        return messages

    async def _announce(self, connection: Connection, serial: str) -> list[str]:
        messages = self.announcements()
        self._discovery_due = False  # before publishing: Home Assistant may ask again meanwhile
        codes = await connection.publish(messages)
        if len(codes) < len(messages):
            self._discovery_due = True
            raise Later(self._lost(connection))
        return [m.topic for m in messages]

    async def republish_discovery(self) -> list[str]:
        """Announce all sensors again; the topics written."""
        connection = await self._ready()
        return await self._announce(connection, self._serial())

    async def clear_discovery(self) -> list[str]:
        """Remove the retained announcements; the topics cleared."""
        connection = await self._ready()
        messages = [Message(m.topic, b"", retain=True) for m in self.announcements()]
        if len(await connection.publish(messages)) < len(messages):
            raise Later(self._lost(connection))
        return [m.topic for m in messages]

    @property
    def connected(self) -> bool:
        return self._connection is not None and not self._connection.closed.is_set()

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if not connection.closed.is_set() and self._options["availability"] and self._connected_as:
            topic = f"{self._topic(self._connected_as.serial)}/availability"
            await connection.publish([Message(topic, b"offline", retain=True)])
        await connection.close()
