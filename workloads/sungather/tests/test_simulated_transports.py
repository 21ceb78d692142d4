"""The whole collector before the simulated inverter, through every transport, with what can go wrong on each.

Acceptance points 33, 36, 37, 38, 42 and 43. Collector and simulator share no protocol code.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest

from sungather.collection.collector import State
from sungather.registers.register import Kind
from sungather.transports.transport import (
    BrokenReply,
    CertificateChanged,
    LoginRefused,
    NoReply,
    Occupied,
    Refusal,
    SessionExpired,
    Unreachable,
)
from sungrow_simulator.inverter import Inverter
from sungrow_simulator.wire.answers import Answers
from sungrow_simulator.wire.dongle import Device
from sungrow_simulator.wire.opening import Servers, add_arguments, start

pytestmark = pytest.mark.skipping

NOON = datetime(2026, 6, 21, 12)
OPTIONS = {
    "modbus": ["--modbus", "0"],
    "tls": ["--tls", "0"],
    "sungrow": ["--sungrow", "0"],
    "http": ["--winet", "0", "--winet-http", "0"],
    "https": ["--winet2", "0"],
}
PORTS = {"http": ("winet", "winet-http"), "https": ("winet2",)}
CONNECTIONS = list(OPTIONS)
DIRECT = ["modbus", "tls", "sungrow"]
DONGLES = ["http", "https"]
PATIENT, USUAL = 60.0, 10.0
"""Timeouts that nothing waits for on a healthy line. The second, less than the shortest slow answer takes, is skipped by
the loop where no answer comes."""

ENDS_AT_ONCE = {
    "reset": (BrokenReply, NoReply, Unreachable),
    "garbage": (BrokenReply, NoReply, Unreachable, Occupied),
    "short": (BrokenReply,),
    "wrong-transaction": (BrokenReply,),
    "wrong-unit": (BrokenReply,),
    "exception-2": (Refusal,),
    "exception-4": (Refusal,),
    "exception-6": (Refusal,),
    "refuse": (BrokenReply, NoReply, Unreachable),
}
TAKES_THE_TIMEOUT = {
    "silent": (NoReply,),
    "slow": (NoReply,),
    "half": (NoReply,),
    "oversize": (NoReply, BrokenReply, Unreachable, Occupied),
}
FAULTS = ENDS_AT_ONCE | TAKES_THE_TIMEOUT
ONLY_MODBUS = ("wrong-transaction", "wrong-unit")
FAULTS_ON_LINES = [
    (connection, fault)
    for connection in CONNECTIONS
    for fault in FAULTS
    if connection in DIRECT or fault not in ONLY_MODBUS
]


class Site:
    """One simulated inverter behind one kind of port."""

    def __init__(self, inverter: Inverter, servers: Servers, connection: str) -> None:
        self.inverter, self.faults, self.servers = inverter, inverter.faults, servers
        self.connection = connection
        ports = [servers.listeners[name].port for name in PORTS.get(connection, (connection,))]
        self.config = {"connection": connection, "port": ports[0], "http_port": ports[-1]}
        if connection not in DONGLES:
            del self.config["http_port"]

    def injected(self, fault: str) -> int:
        return self.faults.counters[f"faults.{fault}"]


@pytest.fixture
async def site():
    """Start a simulated inverter behind the port that a connection needs."""
    running = []

    async def open_port(connection: str, *more: str, model: str = "SH10RT") -> Site:
        inverter = Inverter(model, NOON)
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        profile = inverter.profile
        device = Device(profile.model, profile.code, profile.serial, profile.hybrid)
        servers = await start(
            parser.parse_args([*OPTIONS[connection], *more]),
            Answers(inverter),
            device,
            lambda: inverter.now.date(),
            inverter.faults,
        )
        running.append(servers)
        return Site(inverter, servers, connection)

    yield open_port
    for servers in running:
        await servers.stop()


async def healthy(application):
    """The snapshot of the next collection that works; one more try for each timeout of a busy machine."""
    for _ in range(100):
        cycle = await application.collector.collect()
        if cycle.snapshot is not None:
            return cycle.snapshot
    raise AssertionError(f"a hundred collections failed, the last one with {cycle.error!r}")


def shown(snapshot) -> dict[str, object]:
    return {name: reading.value for name, reading in snapshot.shown().items()}


def own(caplog) -> str:
    """The log without the lines of the simulator's WebSocket library, which runs in this process, too."""
    return "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith("websockets"))


def truth(inverter: Inverter) -> dict[str, object]:
    flows = inverter.plant.flows
    return {
        "total_dc_power": flows.pv_w,
        "load_power_hybrid": flows.load_w,
        "export_power_hybrid": flows.export_w,
    }


@pytest.mark.parametrize("model", ["SH10RT", "SG10RT"])
async def test_every_transport_gives_the_same_readings(run, site, model, tmp_path):
    seen = {}
    for connection in CONNECTIONS:
        place = await site(connection, model=model)
        application = run(
            {**place.config, "level": 2, "timeout": PATIENT}, state_folder=str(tmp_path / connection)
        )
        snapshot = (await application.collector.collect()).snapshot
        assert (snapshot.identity.model, snapshot.identity.serial) == (model, "A2290300001")
        seen[connection] = shown(snapshot)
        assert not application.session.read_errors
    for connection in CONNECTIONS[1:]:
        assert seen[connection] == seen["modbus"]
    assert len(seen["modbus"]) > 40
    if model == "SH10RT":
        assert truth(place.inverter).items() <= seen["modbus"].items()


@pytest.mark.parametrize(("connection", "fault"), FAULTS_ON_LINES)
async def test_a_fault_in_the_middle_of_a_scan_is_no_wrong_reading(run, site, connection, fault):
    place = await site(connection)
    quick = fault in ENDS_AT_ONCE and fault != "refuse"
    application = run({**place.config, "timeout": USUAL, "level": 2})
    place.faults.add(fault, skip=0 if fault == "refuse" else 4, times=1)
    snapshot = (await application.collector.collect()).snapshot if quick else await healthy(application)
    values = shown(snapshot)
    assert snapshot.identity.model == "SH10RT"
    right = truth(place.inverter)
    assert {name: values[name] for name in right if values.get(name) is not None}.items() <= right.items()
    values = shown(await healthy(application))
    assert right.items() <= values.items(), "and the next scan has everything"
    assert place.injected(fault) == 1


@pytest.mark.parametrize(("connection", "fault"), FAULTS_ON_LINES)
async def test_a_fault_that_stays_makes_the_inverter_offline_and_nothing_worse(run, site, connection, fault):
    place = await site(connection)
    application = run({**place.config, "timeout": USUAL, "level": 1})
    only_words = fault.startswith("exception") or fault == "short"
    place.faults.add(fault)
    async with asyncio.timeout(10 * USUAL):
        cycle = await application.collector.collect()
    assert cycle.snapshot is None
    expected = FAULTS[fault]
    if connection in DONGLES and not only_words:
        expected = (*expected, Unreachable, NoReply, Occupied)
    if connection == "sungrow" and only_words:
        expected = (*expected, BrokenReply)  # it is the answer to the question for the key
    assert isinstance(cycle.error, expected), repr(cycle.error)
    assert application.collector.state is State.OFFLINE
    place.faults.clear()
    snapshot = await healthy(application)
    assert snapshot.identity.model == "SH10RT"
    assert application.collector.state is State.ONLINE


@pytest.mark.parametrize("fault", ["exception-2", "exception-4", "exception-11", "short", "reset"])
@pytest.mark.parametrize("connection", CONNECTIONS)
async def test_holding_registers_that_never_answer_cost_only_themselves(run, site, connection, fault):
    place = await site(connection)
    place.faults.add(fault, function=3)
    application = run({**place.config, "timeout": PATIENT, "level": 2})
    snapshot = (await application.collector.collect()).snapshot
    values = shown(snapshot)
    assert truth(place.inverter).items() <= values.items()
    assert values.get("ems_mode_selection") is None
    today = snapshot.taken.astimezone().date()
    assert abs(datetime.fromisoformat(values["timestamp"]).date() - today) <= timedelta(days=1), "local time"
    assert place.injected(fault) >= 1


@pytest.mark.parametrize("connection", CONNECTIONS)
async def test_an_inverter_that_sleeps_at_the_start_is_found_when_it_wakes(run, site, connection, eventually):
    place = await site(connection)
    place.faults.add("refuse")
    application = run({**place.config, "timeout": PATIENT})
    await application.start()
    collector = application.collector
    await eventually(lambda: collector.state is State.OFFLINE)
    assert not collector.fresh()
    place.faults.clear()
    collector.collect_soon()
    await eventually(lambda: collector.snapshot is not None)
    assert collector.snapshot.identity.model == "SH10RT"
    assert collector.state is State.ONLINE


@pytest.mark.parametrize("connection", DIRECT)
async def test_an_inverter_whose_only_session_another_program_holds_is_read_when_that_leaves(
    run, site, connection, tmp_path
):
    place = await site(connection, "--connections", "1")
    application = run({**place.config, "timeout": PATIENT})
    other = run({**place.config, "timeout": PATIENT}, state_folder=str(tmp_path / "other"))
    async with other.session.exclusive() as transport:
        await transport.read(Kind.INPUT, 5000, 1)
        cycle = await application.collector.collect()
        assert isinstance(cycle.error, (BrokenReply, NoReply, Unreachable))
        assert place.faults.counters[f"turned-away.{connection}"] >= 1
    assert (await healthy(application)).identity.model == "SH10RT"


@pytest.mark.parametrize("key", ["zeros", "ones"])
async def test_an_inverter_without_a_key_is_read_in_plain(run, site, key):
    place = await site("sungrow", "--key", key)
    application = run({**place.config, "timeout": PATIENT})
    assert (await application.collector.collect()).snapshot.identity.model == "SH10RT"


async def test_a_session_needs_two_connections_and_later_ones_of_the_day_one(run, site):
    place = await site("sungrow")
    application = run({**place.config, "timeout": PATIENT, "level": 2})
    counted = []
    for _ in range(3):
        assert (await application.collector.collect()).snapshot is not None
        counted.append((place.faults.counters["connections.sungrow"], place.faults.counters["keys"]))
    assert counted == [(2, 1), (3, 1), (4, 1)]


@pytest.mark.parametrize("fault", ["reset", "silent", "garbage"])
async def test_a_session_that_breaks_makes_the_next_one_fetch_the_key_again(run, site, fault):
    place = await site("sungrow")
    application = run({**place.config, "timeout": USUAL, "retries": 0})
    await healthy(application)
    before = place.faults.counters["keys"]
    place.faults.add(fault, times=1)
    while not place.injected(fault):
        await application.collector.collect()
    await healthy(application)
    assert place.faults.counters["keys"] > before


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(minutes=-7), timedelta(minutes=7)])
async def test_the_key_of_a_new_day_is_fetched_also_when_the_two_clocks_differ(run, site, loop_clock, ahead):
    place = await site("sungrow")
    clock = loop_clock(datetime(2026, 6, 21, 23, 50, tzinfo=UTC))
    place.inverter.advance((datetime(2026, 6, 21, 23, 50) + ahead - place.inverter.now).total_seconds())
    application = run({**place.config, "timeout": PATIENT}, clock=clock)
    assert (await application.collector.collect()).snapshot is not None
    for _ in range(10):
        place.inverter.advance(120)
        clock.shift += 120
        cycle = await application.collector.collect()
        assert cycle.snapshot is not None, cycle.error
    assert place.inverter.now.day == 22
    assert clock.local().day == 22
    assert place.faults.counters["keys"] in (2, 3), "once a day, and once more when the clocks differ"


@pytest.mark.parametrize("connection", DONGLES)
async def test_an_expired_token_costs_no_reading(run, site, connection):
    place = await site(connection)
    application = run({**place.config, "timeout": PATIENT})
    await application.collector.collect()
    place.faults.add("token-expired", times=1)
    assert (await application.collector.collect()).snapshot is not None
    assert application.session.read_errors == {"session-expired": 1}
    assert place.injected("token-expired") == 1


@pytest.mark.parametrize("connection", DONGLES)
async def test_tokens_that_always_expire_are_told_and_tried_again(run, site, connection):
    place = await site(connection)
    application = run({**place.config, "timeout": PATIENT})
    place.faults.add("token-expired")
    cycle = await application.collector.collect()
    assert isinstance(cycle.error, SessionExpired)
    place.faults.clear()
    assert (await application.collector.collect()).snapshot is not None


@pytest.mark.parametrize("connection", DONGLES)
async def test_a_dongle_that_another_user_took_is_named_and_read_again_later(run, site, connection, caplog):
    place = await site(connection)
    application = run({**place.config, "timeout": PATIENT})
    place.faults.add("taken-over")
    cycle = await application.collector.collect()
    assert isinstance(cycle.error, Occupied)
    assert application.collector.state is State.OFFLINE
    assert "one user at a time: close its web page and app" in caplog.text
    place.faults.clear()
    assert (await application.collector.collect()).snapshot is not None


async def test_another_user_of_the_new_dongle_ends_the_session_between_two_scans(run, site, tmp_path):
    place = await site("https")
    application = run({**place.config, "timeout": PATIENT})
    other = run({**place.config, "timeout": PATIENT}, state_folder=str(tmp_path / "other"))
    assert (await application.collector.collect()).snapshot is not None
    assert (await other.collector.collect()).snapshot is not None
    assert (await application.collector.collect()).snapshot is not None, "it logs in again"
    assert application.session.read_errors == {"session-expired": 1}


async def test_a_wrong_password_is_named_is_not_logged_and_is_tried_rarely(run, site, caplog):
    caplog.set_level(logging.DEBUG)
    place = await site("https", "--login", "admin:right-horse")
    application = run({**place.config, "timeout": PATIENT, "username": "admin", "password": "wrong-horse"})
    for _ in range(3):
        cycle = await application.collector.collect()
        assert isinstance(cycle.error, LoginRefused)
    assert place.faults.counters["connections.winet2"] == 3, (
        "one try a collection, so that nobody is locked out"
    )
    assert "set inverter: username: and password:" in caplog.text
    assert "horse" not in own(caplog)
    await application.stop()
    right = run({**place.config, "timeout": PATIENT, "username": "admin", "password": "right-horse"})
    assert (await right.collector.collect()).snapshot is not None
    assert "horse" not in own(caplog)


async def test_a_login_that_is_refused_for_a_while_is_tried_again(run, site):
    place = await site("https")
    application = run({**place.config, "timeout": PATIENT})
    place.faults.add("login-refused", times=1)
    assert isinstance((await application.collector.collect()).error, LoginRefused)
    assert (await application.collector.collect()).snapshot is not None


@pytest.mark.parametrize("connection", ["tls", "https"])
async def test_a_certificate_that_changed_stops_the_collection_until_its_owner_accepts_it(
    run, site, connection, caplog
):
    place = await site(connection)
    application = run({**place.config, "timeout": PATIENT})
    assert (await application.collector.collect()).snapshot is not None
    await application.session.close()
    place.faults.add("certificate-changed", times=1)
    for _ in range(3):
        cycle = await application.collector.collect()
    assert isinstance(cycle.error, CertificateChanged)
    assert application.collector.state is State.OFFLINE
    assert f"set inverter: certificate: {cycle.error.seen}" in caplog.text
    await application.stop()
    restarted = run({**place.config, "timeout": PATIENT})
    assert isinstance((await restarted.collector.collect()).error, CertificateChanged), "also after a restart"
    await restarted.stop()
    accepted = run({**place.config, "timeout": PATIENT, "certificate": cycle.error.seen})
    assert (await accepted.collector.collect()).snapshot is not None
