"""The examples that need real time, for a database, threads or TLS: as they stand, on a real API server."""

import asyncio
import base64
import os
import ssl
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from kco.operator.controller import TARGET_APPS
from operator_kit.kube.client import SECRETS, Resource

DEPLOYMENTS = Resource("apps", "v1", "deployments")


@pytest.fixture
async def outside(streets: Any) -> Any:
    """Names of the examples, for the running loop."""
    streets.pave(asyncio.get_running_loop())
    return streets


async def apply(bed: Any, path: Path) -> str:
    """Create the TargetApp of a file, as it stands."""
    body = yaml.safe_load(path.read_text())
    await bed.client.create(TARGET_APPS, bed.namespace, body)
    return str(body["metadata"]["name"])


async def monitoring(bed: Any, until: Any, name: str) -> None:
    async def state() -> bool:
        return ((await bed.read(name)).get("status") or {}).get("state") == "Monitoring"

    await until(state)


async def scrape(operator: Any) -> list[str]:
    """The lines of /metrics."""
    url = f"http://127.0.0.1:{operator.exposition.ports['METRICS_PORT']}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return (await answer.text()).splitlines()


def certificates(folder: Path, *names: str) -> tuple[ssl.SSLContext, Path]:
    """A server context for these names, and the certificate that a machine has to trust for it."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    hosts = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = builder.add_extension(hosts, critical=False)
    made = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    trusted, pair = folder / "trusted.pem", folder / "pair.pem"
    trusted.write_bytes(pem)
    secret = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)
    pair.touch(mode=0o600)
    pair.write_bytes(pem + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    return context, trusted


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server context for the examples' names, which this machine trusts."""
    context, trusted = certificates(tmp_path, "shop.example.org", "hooks.example.org")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    return context


async def test_62_subscription_tells_at_once_and_polling_takes_over(
    bed, app, until, outside, inbox, tls, examples
) -> None:
    host = f"shop.{bed.namespace}.svc"
    outside.lead(host, 8080, lambda: app.port)
    outside.lead("hooks.example.org", 443, lambda: inbox.port)
    await inbox.start(tls)
    operator = await bed.start()
    await apply(bed, examples / "subscription.yaml")

    async def delivered() -> bool:
        return any('status="subscription"' in line for line in await scrape(operator))

    await until(delivered)
    asked = app.requests
    app.turn(application={"health": "unhealthy"})
    await until(lambda: inbox.letters)
    assert app.requests == asked, "told without being asked"
    run = (await bed.runs())[0]
    assert run["spec"]["rule"] == "tell"
    await app.stop()
    await until(lambda: operator.services.engine.polls)
    assert await until(lambda: bed.events("SubscriptionLost"))


async def test_62_state_metrics_are_series_of_the_operator(bed, app, until, outside, tls, examples) -> None:
    token = base64.b64encode(b"Bearer sesame").decode()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "shop-token"},
        "data": {"header": token},
    }
    await bed.client.create(SECRETS, bed.namespace, secret)
    await app.stop()
    await app.start(tls=tls)
    outside.lead("shop.example.org", 443, lambda: app.port)
    operator = await bed.start(default_polling_interval=1)
    name = await apply(bed, examples / "state-metrics.yaml")
    await monitoring(bed, until, name)
    assert app.headers["Authorization"] == "Bearer sesame"
    app.turn(application={"health": "degraded", "load": 0.75})

    async def series() -> dict[str, float] | None:
        found = dict(
            line.rsplit(" ", 1) for line in await scrape(operator) if line.startswith("kco_state_shop_")
        )
        numbers = {key: float(value) for key, value in found.items() if f'namespace="{bed.namespace}"' in key}
        return numbers if 0.75 in numbers.values() else None

    numbers = await until(series)
    assert [value for key, value in numbers.items() if key.startswith("kco_state_shop_load{")] == [0.75]
    health = {
        key.split('value="')[1].split('"')[0]: value for key, value in numbers.items() if "health" in key
    }
    assert health == {"healthy": 0.0, "degraded": 1.0, "unhealthy": 0.0}


async def test_62_history_is_kept_in_postgresql_and_a_new_rule_is_tried_on_it(
    bed, app, until, outside, examples, postgresql, tmp_path, capsys
) -> None:
    outside.lead(f"shop.{bed.namespace}.svc", 8080, lambda: app.port)
    operator = await bed.start(history_url=postgresql, default_polling_interval=1)
    name = await apply(bed, examples / "history" / "targetapp.yaml")
    await monitoring(bed, until, name)
    app.turn(application={"pendingTasks": 150})
    await until(lambda: operator.services.history.written >= 2)
    app.turn(application={"pendingTasks": 0})
    await until(lambda: operator.services.history.written >= 3)
    await bed.stop()

    # As a person would: a process of its own for each command, the database from the environment.
    async def kco(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "kco", *words, "-n", bed.namespace,
            env={**os.environ, "KCO_HISTORY_URL": postgresql},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    lines = (await kco("history", name)).splitlines()
    assert len(lines) == 3
    assert '"pendingTasks":150' in lines[1]
    manifest = examples / "history" / "targetapp.yaml"
    assert "3 states" in await kco("replay", str(manifest))
    assert "0 actions would have run" in await kco("replay", str(manifest))
    hasty = tmp_path / "hasty.yaml"
    hasty.write_text(manifest.read_text().replace("for: 2m", "for: 0s"))
    said = await kco("replay", str(hasty))
    assert "more-workers fired (scale_deployment)" in said
    assert "1 action would have run" in said
