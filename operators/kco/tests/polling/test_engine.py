"""Polling a real server with its faults: one request a poll, limits, retries, isolation."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kco.net.guard import Guard
from kco.net.pool import Pool, place_of, prepare
from kco.net.tls import DEFAULT, TlsSettings
from kco.net.url import parse_url
from kco.operator.preparation import redirect_address
from kco.polling.engine import PollEngine
from kco.polling.poll import Failure, Poll
from kco.polling.rate import Bucket
from slipway.cluster.environment import virtual_time

Application = sys.modules["kco_graphql_app"].Application
BODY = b'{"query": "{ application { health } }"}'


def plenty() -> Bucket:
    """A limit that is never reached."""
    return Bucket(1e9, 10**6, 0.0)


class Watcher:
    """An engine with its answers."""

    def __init__(self, engine: PollEngine, pool: Pool) -> None:
        self.engine = engine
        self.pool = pool
        self.bodies: list[bytes] = []
        self.failures: list[Failure] = []

    def add(
        self, url: str, key: str = "a", *, tls: TlsSettings = DEFAULT, at_once: bool = True, **more: Any
    ) -> Poll:
        address = parse_url(url)
        headers = {"Content-Type": "application/json"}
        given = {"interval": 0.2, "timeout": 1.0, "max_retries": 0, "limit": 1024 * 1024, **more}
        given.setdefault("bucket", plenty())
        poll = Poll(
            key=key,
            place=place_of(address, tls),
            request=prepare("POST", address, headers, BODY),
            received=self._received,
            owner=self,
            **given,
        )
        self.engine.add(poll, at_once=at_once)
        return poll

    def _received(self, poll: Poll, body: bytes | None, failure: Failure | None) -> None:
        if failure is not None:
            self.failures.append(failure)
        if body is not None:
            self.bodies.append(body)


@pytest.fixture
async def watcher() -> AsyncIterator[Watcher]:
    pool = Pool(Guard(allowed=["127.0.0.0/8"]))
    engine = PollEngine(pool, bucket=plenty())
    engine.start()
    yield Watcher(engine, pool)
    await engine.stop()


async def test_18_a_poll_is_one_request_on_a_kept_connection(
    watcher: Watcher, app: Any, until: Callable[..., Any]
) -> None:
    poll = watcher.add(app.url, interval=0.02)
    await until(lambda: poll.succeeded >= 20)
    assert app.requests - poll.succeeded in (0, 1)
    assert watcher.pool.opened == 1
    assert len(app.connections) == 1
    assert not any("__schema" in query for query in app.queries)


def test_18_polling_works_on_uvloop_too() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> int:
        application = Application()
        await application.start()
        pool = Pool(Guard(allowed=["127.0.0.0/8"]))
        engine = PollEngine(pool, bucket=plenty())
        engine.start()
        poll = Watcher(engine, pool).add(application.url, interval=0.02)
        await asyncio.sleep(1.0)
        await engine.stop()
        await application.stop()
        return poll.succeeded

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) >= 5


async def test_18_a_quiet_poll_tells_nobody(watcher: Watcher, app: Any, until: Callable[..., Any]) -> None:
    poll = watcher.add(app.url, interval=0.02)
    await until(lambda: poll.succeeded >= 5)
    assert len(watcher.bodies) == 1
    app.turn(application={"health": "degraded"})
    await until(lambda: len(watcher.bodies) == 2)


async def test_18_a_closed_idle_connection_is_replaced_without_a_failure(
    watcher: Watcher, app: Any, until: Callable[..., Any]
) -> None:
    poll = watcher.add(app.url, interval=0.05)
    await until(lambda: poll.succeeded >= 2)
    port = app.port
    await app.stop()
    app._runner = None
    await app.start(port=port)
    done = poll.succeeded
    await until(lambda: poll.succeeded >= done + 3)
    assert {failure.category for failure in watcher.failures} <= {"connection"}


@pytest.mark.parametrize(
    ("fault", "category", "permanent"),
    [
        ("status:500", "http_status", False),
        ("status:404", "http_status", True),
        ("status:429", "http_status", False),
        ("html", "content_type", True),
        ("huge", "too_large", True),
        ("redirect", "redirect", True),
        ("reset", "connection", False),
    ],
)
async def test_23_each_fault_has_its_category(
    watcher: Watcher, app: Any, until: Callable[..., Any], fault: str, category: str, permanent: bool
) -> None:
    app.fault = fault
    watcher.add(app.url)
    await until(lambda: watcher.failures)
    assert (watcher.failures[0].category, watcher.failures[0].permanent) == (category, permanent)


async def test_21_passing_failures_are_retried_within_the_interval_and_permanent_ones_are_not(
    watcher: Watcher, app: Any, until: Callable[..., Any]
) -> None:
    app.fault = "status:500"
    watcher.add(app.url, interval=5.0, max_retries=2)
    await until(lambda: watcher.failures)
    assert app.requests == 3
    app.requests, app.fault = 0, "status:400"
    watcher.failures.clear()
    watcher.add(app.url, key="b", interval=5.0, max_retries=2)
    await until(lambda: watcher.failures)
    assert app.requests == 1


async def test_21_retry_after_is_honoured(watcher: Watcher, app: Any, until: Callable[..., Any]) -> None:
    app.fault = "status:503"
    loop = asyncio.get_running_loop()
    begun = loop.time()
    watcher.add(app.url, interval=5.0, max_retries=1)
    await until(lambda: app.requests == 2)
    assert loop.time() - begun >= 1.0


async def test_21_a_refused_connection_and_an_unknown_name_are_failures(
    watcher: Watcher, until: Callable[..., Any]
) -> None:
    watcher.add("http://127.0.0.1:9/graphql", key="a")
    watcher.add("http://does-not-exist.invalid/graphql", key="b")
    await until(lambda: {failure.category for failure in watcher.failures} >= {"connection", "dns"})


@pytest.mark.parametrize("hanging", [0, 500])
def test_20_five_hundred_hung_targets_delay_none_of_five_hundred_healthy_ones(hanging: int) -> None:
    """In virtual time any waiting on others shows exactly: the 99th percentile is the same with and without."""

    async def main() -> None:
        app, hung = Application(), Application()
        await app.start()
        await hung.start()
        hung.fault = "hang"
        waits: list[float] = []
        pool = Pool(Guard(allowed=["127.0.0.0/8"]))
        engine = PollEngine(pool, bucket=plenty(), duration=waits.append)
        watcher = Watcher(engine, pool)
        engine.start()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        healthy = [
            watcher.add(app.url, key=f"h{number}", interval=5.0, at_once=False) for number in range(500)
        ]
        dead = [
            watcher.add(hung.url, key=f"x{number}", interval=5.0, timeout=4.0) for number in range(hanging)
        ]
        await asyncio.sleep(21.0)
        late = [loop.time() - poll.answered_at for poll in healthy]
        assert max(late) <= 5.0, "every healthy target was polled in its last interval"
        assert all(poll.succeeded >= 4 and poll.failed == 0 for poll in healthy)
        assert all(poll.failed >= 3 and poll.succeeded == 0 for poll in dead)
        waits.sort()
        quick = [wait for wait in waits if wait < 3.9]
        assert len(quick) == sum(poll.succeeded for poll in healthy)
        assert quick[int(len(quick) * 0.99)] < 0.005, "what a poll takes when nobody hangs"
        assert loop.time() - begun < 22
        await engine.stop()
        await app.stop()
        await hung.stop()

    virtual_time.run(main())


async def test_20_a_hung_target_delays_no_other_one_in_real_time_either(
    watcher: Watcher, app: Any, until: Callable[..., Any]
) -> None:
    hung = Application()
    await hung.start()
    hung.fault = "hang"
    healthy = watcher.add(app.url, key="healthy", interval=0.1)
    for number in range(20):
        watcher.add(hung.url, key=f"x{number}", interval=5.0, timeout=4.0)
    await until(lambda: healthy.succeeded >= 5, 4.0 * 3)
    await watcher.engine.stop()
    await hung.stop()


async def test_05_a_removed_poll_ends_at_once(watcher: Watcher, app: Any, until: Callable[..., Any]) -> None:
    app.fault = "hang"
    poll = watcher.add(app.url, timeout=30)
    await until(lambda: app.requests == 1)
    watcher.engine.remove(poll.key)
    app.fault = None
    await asyncio.sleep(0.5)
    assert app.requests == 1
    assert not watcher.bodies
    assert not watcher.failures


async def test_24_redirects_are_followed_only_when_asked_and_never_to_another_host(
    watcher: Watcher, app: Any, until: Callable[..., Any]
) -> None:
    address = parse_url(app.url)
    app.fault = "redirect"
    seen: list[str] = []

    def redirected(location: str) -> bytes | None:
        target = redirect_address(address, location)
        seen.append(location)
        return prepare("POST", target, {}, BODY) if target else None

    followed = watcher.add(app.url, redirected=redirected, interval=5.0)
    await until(lambda: watcher.failures)
    # /elsewhere is not there: the redirect was followed, on the same connection, and answered 404.
    assert seen == ["/elsewhere"]
    assert "404" in watcher.failures[0].message
    assert followed.requests == 2
    assert redirect_address(address, "http://evil.example/graphql") is None
    assert redirect_address(address, "//evil.example/graphql") is None
    assert redirect_address(address, f"https://127.0.0.1:{app.port}/graphql") is None


async def test_26_a_target_and_the_whole_operator_keep_their_rate(
    app: Any, until: Callable[..., Any]
) -> None:
    pool = Pool(Guard(allowed=["127.0.0.0/8"]))
    loop = asyncio.get_running_loop()
    engine = PollEngine(pool, bucket=Bucket(60, 10, loop.time()))
    engine.start()
    watcher = Watcher(engine, pool)
    own = watcher.add(app.url, key="own", interval=0.02, bucket=Bucket(60, 2, loop.time()))
    other = watcher.add(app.url, key="other", interval=0.02)
    await asyncio.sleep(1.0)
    assert own.requests <= 3
    assert own.requests + other.requests <= 11
    assert app.requests <= 11
    assert own.rate_limited
    assert other.rate_limited
    await engine.stop()


async def test_26_a_followed_redirect_is_paid_for_like_any_request(
    watcher: Watcher, app: Any, until: Callable[..., Any]
) -> None:
    app.fault = "redirect"
    address = parse_url(app.url)
    poll = watcher.add(
        app.url,
        interval=0.05,
        bucket=Bucket(60, 4, asyncio.get_running_loop().time()),
        redirected=lambda location: prepare("POST", address, {}, BODY),
    )
    await asyncio.sleep(0.8)
    # One poll with its three hops uses the burst of four up.
    assert poll.requests == 4
    assert poll.rate_limited


def test_26_a_request_that_the_other_limit_holds_back_costs_nothing() -> None:
    bucket = Bucket(60, 2, 0.0)
    assert bucket.take(0.0) == 0
    bucket.give_back()
    assert [bucket.take(0.0) == 0 for _ in range(3)] == [True, True, False]
    bucket.charge()
    assert bucket.take(1.0) > 0, "a request that could not wait is paid for later"


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, str]:
    """A server context with a self-signed certificate for `name`, and that certificate."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    path = folder / f"{name}.pem"
    path.write_text(pem + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, pem


async def test_48_certificates_are_verified_unless_told_otherwise(
    watcher: Watcher, app: Any, until: Callable[..., Any], tmp_path: Path
) -> None:
    context, pem = certificate(tmp_path, "app.example")
    server = type(app)()
    await server.start(tls=context)
    url = f"https://127.0.0.1:{server.port}/graphql"
    watcher.add(url, key="unknown authority")
    watcher.add(url, key="wrong name", tls=TlsSettings(ca=pem))
    await until(lambda: len(watcher.failures) >= 2)
    assert {failure.category for failure in watcher.failures} == {"tls"}
    assert server.requests == 0
    good = watcher.add(url, key="right", tls=TlsSettings(ca=pem, server_name="app.example"))
    anyhow = watcher.add(url, key="insecure", tls=TlsSettings(insecure=True))
    await until(lambda: good.succeeded and anyhow.succeeded)
    await watcher.engine.stop()
    await server.stop()


async def test_48_a_client_certificate_is_shown_to_servers_that_ask(
    watcher: Watcher, app: Any, until: Callable[..., Any], tmp_path: Path
) -> None:
    context, pem = certificate(tmp_path, "app.example")
    _, client_pem = certificate(tmp_path, "kco.example")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=client_pem)
    server = type(app)()
    await server.start(tls=context)
    url = f"https://127.0.0.1:{server.port}/graphql"
    key = (tmp_path / "kco.example.pem").read_text().removeprefix(client_pem)
    named = TlsSettings(ca=pem, server_name="app.example")
    watcher.add(url, key="without", tls=named)
    shown = watcher.add(url, key="with", tls=replace(named, certificate=client_pem, key=key))
    await until(lambda: shown.succeeded)
    await until(lambda: watcher.failures)
    assert server.requests == shown.succeeded
    await watcher.engine.stop()
    await server.stop()


async def test_49_a_refused_address_is_never_connected_to(app: Any, until: Callable[..., Any]) -> None:
    pool = Pool(Guard())
    engine = PollEngine(pool, bucket=plenty())
    engine.start()
    watcher = Watcher(engine, pool)
    watcher.add(app.url)
    await until(lambda: watcher.failures)
    assert watcher.failures[0].category == "refused_address"
    assert app.requests == 0
    await engine.stop()


async def test_56_the_beat_stops_when_the_loop_stands_still(
    watcher: Watcher, until: Callable[..., Any]
) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await until(lambda: watcher.engine.beat_at > begun)
    await watcher.engine.stop()
    stood = watcher.engine.beat_at
    await asyncio.sleep(0.25)
    assert watcher.engine.beat_at == stood
