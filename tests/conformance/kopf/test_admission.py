"""Admission by kopf's own webhook server: the API server asks it over TLS and does as it says."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.access.certificates import CertificateAuthority
from slipway.cluster.environment.test_cluster import TestCluster
from slipway.cluster.status import StatusError


@pytest.fixture
def admitting(cluster: TestCluster, run: Any, samples: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    authority = CertificateAuthority.create(datetime.datetime.now(datetime.UTC), "conformance-webhooks")
    pair = authority.issue_server(["localhost", "127.0.0.1"])
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    (tmp_path / "server.pem").write_bytes(pair.certificate)
    (tmp_path / "server.key").write_bytes(pair.key)
    managed = f"w{uuid.uuid4().hex[:6]}.example.com"

    @contextmanager
    def admitting(webhook: str = "server") -> Iterator[Any]:
        with run("admission", WEBHOOK=webhook, CERTIFICATES=str(tmp_path), MANAGED=managed) as operator:
            for kind in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations"):
                cluster.wait(kind, managed, lambda obj: obj.get("webhooks"))
            operator.managed = managed
            yield operator

    yield admitting
    for kind in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations"):
        cluster.delete(kind, managed)


def test_what_is_wrong_is_refused_with_the_handlers_words_and_code(
    cluster: TestCluster, samples: Callable[..., Any], admitting: Any
) -> None:
    with admitting() as operator:
        with pytest.raises(StatusError, match="size must be a whole number") as refused:
            samples("bad", {"size": "many"})
        assert refused.value.code == 418
        assert 'admission webhook "judge.' in str(refused.value)
        assert cluster.get("samples", "bad") is None
        with pytest.raises(StatusError, match="a bug"):
            samples("broken", labels={"broken": ""})
        samples("good", {"size": 7})
        note = operator.wait("judge", operation="CREATE", dryrun=False)
        assert note["user"]
        assert note["host"].startswith("localhost:")
        cluster.patch("samples", "good", {"spec": {"size": 8}})
        operator.wait("judge", operation="UPDATE")


def test_mutations_are_applied_before_the_object_is_stored(
    cluster: TestCluster, samples: Callable[..., Any], admitting: Any
) -> None:
    with admitting() as operator:
        samples("one", {"size": 4, "double": True, "secret": "x"}, labels={"own": "yes"})
        made = cluster.get("samples", "one") or {}
        assert made["spec"] == {"size": 8, "double": False, "numbers": [1, 2, 3]}
        assert made["metadata"]["labels"] == {"own": "yes", "completed": "yes"}
        assert operator.wait("created")["spec"]["size"] == 8


def test_operations_labels_and_subresources_choose_the_webhook(
    cluster: TestCluster, samples: Callable[..., Any], admitting: Any
) -> None:
    strict = {"apiVersion": "conformance.example.com/v1", "kind": "StrictSample", "metadata": {"name": "s"}}
    with admitting() as operator:
        samples("kept", labels={"kept": "yes"})
        with pytest.raises(StatusError, match="this one is kept"):
            cluster.delete("samples", "kept")
        assert operator.wait("keep")["old"]
        cluster.patch("samples", "kept", {"metadata": {"labels": {"kept": "no"}}})
        cluster.delete("samples", "kept")
        with pytest.raises(StatusError, match="refused, whatever"):
            samples("forgiven", labels={"forgiven": "yes"})
        cluster.apply({**strict, "spec": {"size": 1}})
        cluster.patch("strictsamples", "s", {"spec": {"replicas": 2}}, subresource="scale")
        assert operator.wait("scaling", replicas=2)["kind"] == "Scale"
        with pytest.raises(StatusError, match="five are enough"):
            cluster.patch("strictsamples", "s", {"spec": {"replicas": 6}}, subresource="scale")
        assert (cluster.get("strictsamples", "s") or {})["spec"] == {"size": 2}


def test_warnings_reach_the_client_and_a_dry_run_the_handlers(
    cluster: TestCluster, samples: Callable[..., Any], admitting: Any
) -> None:
    body = b"""{"apiVersion": "conformance.example.com/v1", "kind": "Sample",
               "metadata": {"name": "large"}, "spec": {"size": 1000}}"""
    with admitting() as operator:
        path = f"/apis/conformance.example.com/v1/namespaces/{cluster.namespace}/samples"
        json = {"content-type": "application/json"}
        answer = cluster.request("POST", path, query={"dryRun": "All"}, headers=json, body=body)
        assert answer.status == 201
        operator.wait("complete", dryrun=True)
        assert cluster.get("samples", "large") is None
        answer = cluster.request("POST", path, headers=json, body=body)
        assert answer.status == 201
        assert answer.headers["warning"] == '299 - "that is rather large"'
        cluster.request("DELETE", f"{path}/large", query={"dryRun": "All"})
        operator.wait("judge", operation="DELETE", dryrun=True)
        assert cluster.get("samples", "large") is not None


def test_kopf_takes_its_webhooks_away_when_it_leaves_but_for_the_persistent_ones(
    cluster: TestCluster, samples: Callable[..., Any], admitting: Any
) -> None:
    with admitting("tunnel") as operator:
        operator.wait("tunnel")
        configuration = cluster.get("validatingwebhookconfigurations", operator.managed) or {}
        judge = next(hook for hook in configuration["webhooks"] if hook["name"].startswith("judge."))
        assert judge["clientConfig"]["url"].endswith("/hooks/judge")
        assert judge["clientConfig"]["caBundle"]
        assert judge["failurePolicy"] == "Fail"
        assert judge["sideEffects"] == "None"
        assert judge["rules"][0]["resources"] == ["samples"]
        keep = next(hook for hook in configuration["webhooks"] if hook["name"].startswith("keep."))
        assert keep["objectSelector"] == {
            "matchExpressions": [{"key": "kept", "operator": "In", "values": ["yes"]}]
        }
        operator.stop()
        left = cluster.get("validatingwebhookconfigurations", operator.managed) or {}
        assert not left.get("webhooks")
        left = cluster.get("mutatingwebhookconfigurations", operator.managed) or {}
        assert [hook["name"].partition(".")[0] for hook in left["webhooks"]] == ["double"]
