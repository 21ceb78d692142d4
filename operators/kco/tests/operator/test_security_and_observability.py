"""Secrets stay secret, permissions are checked before anything fires, logs and metrics say what they should."""

import asyncio
import base64
import io
import json
import logging
import urllib.request
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from kco.operator import reporting
from kco.settings import PREFIX, Settings
from kco.targets.credentials import Redactor
from operator_kit.kube.client import SECRETS, Resource
from operator_kit.logging import configure
from operator_kit.settings import SettingsError, load, variables

CANARY = "canary-8c1f-secret"


def act(url: str, **more: Any) -> dict[str, Any]:
    trigger = {"field": "application.health", "condition": "equals", "value": "unhealthy"}
    return {
        "name": "tell",
        "trigger": trigger,
        "action": "webhook",
        "parameters": {"url": url, "attempts": 1},
        **more,
    }


async def test_50_a_secret_appears_in_no_output_at_debug(bed, app, until) -> None:
    stream = io.StringIO()
    operator = await bed.start()
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    configure(operator="kco", level="DEBUG", style="json", redact=operator._redactor, stream=stream)
    try:
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "token"},
            "data": {"header": base64.b64encode(CANARY.encode()).decode()},
        }
        await bed.client.create(SECRETS, bed.namespace, body)
        source = {"secretKeyRef": {"name": "token", "key": "header"}}
        hook = act(app.url + "/" + CANARY)
        hook["parameters"]["headers"] = [{"name": "X-Key", "valueFrom": source}]
        await bed.make(
            graphqlEndpoint=app.url,
            headers=[{"name": "X-Token", "valueFrom": source}],
            actions=[hook],
            retry=None,
        )
        await until(lambda: app.requests)
        assert app.headers["X-Token"] == CANARY
        # The application itself says the secret, in its state and in an error.
        app.turn(application={"health": "unhealthy", "lastError": f"login with {CANARY} failed"})
        await until(lambda: bed.events("ActionFailed"))
        app.fault = "errors"
        await asyncio.sleep(1.5)
        outputs = [
            stream.getvalue(),
            json.dumps(await bed.events()),
            json.dumps((await bed.read()).get("status")),
            json.dumps([run.get("status") for run in await bed.runs()]),
            json.dumps([run["spec"] for run in await bed.runs()]),
            generate_latest(operator.registry).decode(),
        ]
        assert "[redacted]" in outputs[1]
        for output in outputs:
            assert CANARY not in output
        lines = [json.loads(line) for line in stream.getvalue().splitlines()]
        assert any(line.get("action") == "state_change_detected" for line in lines)
    finally:
        root.handlers[:], root.level = before


async def test_50_only_secrets_of_the_own_namespace_can_be_named() -> None:
    from pydantic import ValidationError

    from kco.spec.targetapp import KeyRef

    with pytest.raises(ValidationError):
        KeyRef.model_validate({"name": "x", "key": "y", "namespace": "kube-system"})


async def test_52_an_unauthorized_target_is_told_before_anything_fires(bed, app, until) -> None:
    app.turn(application={"health": "unhealthy"})
    await bed.start()
    accounts = Resource("", "v1", "serviceaccounts")
    await bed.client.create(
        accounts, bed.namespace, {"metadata": {"name": "weak"}, "apiVersion": "v1", "kind": "ServiceAccount"}
    )
    scale = {**act(""), "action": "scale_deployment", "parameters": {"deploymentName": "web", "replicas": 2}}
    await bed.make(graphqlEndpoint=app.url, serviceAccountName="weak", actions=[scale])

    async def refused() -> Any:
        condition = await bed.condition("ActionsAuthorized")
        return condition if condition.get("status") == "False" else None

    condition = await until(refused)
    assert "patch deployments/scale (rule tell)" in condition["message"]
    assert await bed.events("ActionsNotAuthorized")
    await asyncio.sleep(1.5)
    assert await bed.runs() == []


async def test_54_the_metrics_are_valid_true_and_complete(bed, app, until) -> None:
    operator = await bed.start()
    await bed.make(
        graphqlEndpoint=app.url,
        actions=[act("http://127.0.0.1:9/", retry={"attempts": 1})],
        metrics=[
            {"field": "application.load", "name": "load"},
            {"field": "application.health", "name": "health", "values": ["healthy", "unhealthy"]},
        ],
    )
    await until(lambda: app.requests)
    app.turn(application={"health": "unhealthy"})
    await until(lambda: bed.events("ActionFailed"))
    port = operator.exposition.ports["METRICS_PORT"]

    def scrape() -> tuple[int, str, str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()

    status, kind, text = await asyncio.to_thread(scrape)
    assert status == 200
    assert kind.startswith("text/plain")
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    named = {name for name, _ in samples}
    for name in (
        "operator_kco_tapp_polls_total",
        "operator_kco_tapp_poll_duration_seconds_bucket",
        "operator_kco_events_generated_total",
        "operator_kco_actions_executed_total",
        "operator_kco_action_duration_seconds_bucket",
        "operator_kco_errors_total",
        "operator_kco_active_monitors",
    ):
        assert name in named

    def one(name: str, **labels: str) -> float:
        return sum(
            value
            for (found, pairs), value in samples.items()
            if found == name and labels.items() <= dict(pairs).items()
        )

    assert abs(one("operator_kco_tapp_polls_total", tapp_name="app", status="success") - app.requests) <= 1
    assert one("operator_kco_actions_executed_total", action="webhook", status="failed") == 1
    assert one("operator_kco_errors_total", category="action") == 1
    assert one("kco_state_load", tapp_name="app") == 0.1
    assert one("kco_state_health", value="unhealthy") == 1
    assert one("kco_state_health", value="healthy") == 0


def test_54_a_thousand_targets_stay_below_300_kb_and_labels_can_be_turned_off() -> None:
    from prometheus_client import CollectorRegistry

    from kco.metrics import KcoCollector, TargetCounts, TargetReading

    def readings() -> list[TargetReading]:
        rows = []
        for number in range(1000):
            counts = TargetCounts()
            counts.add("polls", "success", by=100)
            counts.add("events", "initial")
            rows.append(TargetReading("namespace", f"application-{number}", counts))
        return rows

    sizes = []
    for per_target in (True, False):
        registry = CollectorRegistry()
        KcoCollector(readings, per_target=per_target).register(registry)
        sizes.append(len(generate_latest(registry)))
    assert sizes[0] <= 300_000
    assert sizes[1] < 10_000


async def test_55_a_log_is_one_json_object_per_line_with_one_correlation_id(bed, app, until) -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    operator = await bed.start()
    configure(operator="kco", level="INFO", style="json", redact=str, stream=stream)
    try:
        await bed.make(graphqlEndpoint=app.url, actions=[act("http://127.0.0.1:9/", retry={"attempts": 1})])
        await until(lambda: app.requests)
        app.turn(application={"health": "unhealthy"})
        await until(lambda: bed.events("ActionFailed"))
        polls = next(iter(operator.services.engine.polls.values()))
        size, done = len(stream.getvalue()), polls.requests
        await until(lambda: polls.requests >= done + 3)
        assert len(stream.getvalue()) == size, "a quiet poll must log nothing at INFO"
    finally:
        root.handlers[:], root.level = before
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    changed = next(line for line in lines if line.get("action") == "state_change_detected")
    assert (changed["old_state"], changed["new_state"]) == ("healthy", "unhealthy")
    for name in ("timestamp", "level", "operator", "namespace", "tapp", "correlation_id"):
        assert changed[name]
    of_work = [line for line in lines if line.get("correlation_id") == changed["correlation_id"]]
    assert {"state_change_detected", "rule_fired", "action_started", "action_finished"} <= {
        line["action"] for line in of_work
    }
    assert len({json.dumps(line) for line in lines}) == len(lines)


async def test_55_a_start_warns_of_nothing(bed, app, until, caplog) -> None:
    await bed.start()
    # kopf watches once it has seen this one.
    await bed.make(graphqlEndpoint=app.url)
    await until(lambda: app.requests)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_55_plain_logs_are_plain() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    try:
        configure(operator="kco", level="INFO", style="plain", redact=str, stream=stream)
        logging.getLogger("x").info("hello", extra={"fields": {"a": 1}})
    finally:
        root.handlers[:], root.level = before
    assert stream.getvalue().strip().endswith("INFO x: hello a=1")


async def test_56_the_probes_tell_what_is_wrong(bed, app, until) -> None:
    operator = await bed.start()
    port = operator.exposition.ports["HEALTH_PORT"]

    def probe(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as failure:
            return failure.code, failure.read().decode()

    assert await asyncio.to_thread(probe, "/healthz") == (200, "ok\n")
    assert await asyncio.to_thread(probe, "/readyz") == (200, "ok\n")
    await operator.services.engine.stop()
    operator.services.engine.beat_at -= 60
    status, text = await asyncio.to_thread(probe, "/healthz")
    assert status == 503
    assert "stood still" in text
    operator.client.last_answer_at = -1000.0
    status, text = await asyncio.to_thread(probe, "/readyz")
    # A renewal of the Lease may answer in between; then it is ready again, and rightly so.
    assert status == 503 or operator.client.last_answer_at > 0


SAMPLES: dict[str, tuple[str, Any]] = {
    "log_level": ("debug", "DEBUG"),
    "log_format": ("PLAIN", "plain"),
    "graphql_timeout": ("5", 5.0),
    "patchable_kinds": ("pods, services", ("pods", "services")),
    "refused_networks": ("10.0.0.0/8", ("10.0.0.0/8",)),
    "metrics_enabled": ("false", False),
    "namespace": ("one", "one"),
}


@pytest.mark.parametrize("field", sorted(SAMPLES))
def test_57_both_names_are_read_and_the_prefixed_one_wins(field: str) -> None:
    text, value = SAMPLES[field]
    names = variables(Settings, PREFIX)[field]
    assert names[0] == PREFIX + field.upper()
    for name in names:
        assert getattr(load(Settings, prefix=PREFIX, environment={name: text}), field) == value
    if len(names) == 2:
        both = {names[0]: text, names[1]: "never valid, never read"}
        assert getattr(load(Settings, prefix=PREFIX, environment=both), field) == value


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("METRICS_PORT", "99999", "allowed: 0 to 65535"),
        ("KCO_GRAPHQL_TIMEOUT", "soon", "valid number"),
        ("LOG_LEVEL", "LOUD", "'DEBUG'"),
        ("KCO_REFUSED_NETWORKS", "10.0.0.0/99", "network"),
        ("KCO_HISTORY_URL", "mysql://x", "sqlite"),
    ],
)
def test_57_a_bad_value_is_named_with_its_bounds(variable: str, text: str, words: str) -> None:
    with pytest.raises(SettingsError) as failure:
        load(Settings, prefix=PREFIX, environment={variable: text})
    assert str(failure.value).startswith(f"{variable}={text!r}")
    assert words in str(failure.value)


def test_50_the_redactor_knows_secrets_inside_json_and_lines() -> None:
    redactor = Redactor()
    redactor.add('pass"word\nsecond-line')
    assert redactor('x pass"word y') == "x [redacted] y"
    assert redactor("second-line") == "[redacted]"
    assert reporting.MAX_ROWS
