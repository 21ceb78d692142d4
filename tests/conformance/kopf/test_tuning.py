"""Settings and words of the command line that change how kopf works, not what the handlers do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from slipway.cluster.environment.test_cluster import TestCluster

LAST_HANDLED = "kopf.zalando.org/last-handled-configuration"


def test_a_tuned_operator_handles_all_objects_and_logs_as_json(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    words = ("--standalone", "-n", cluster.namespace, "--log-format=json", "--debug")
    for number in range(5):
        samples(f"s{number}")
    with run("tuned", *words) as operator:
        for number in range(5):
            cluster.wait(
                "samples", f"s{number}", lambda obj: LAST_HANDLED in obj["metadata"].get("annotations", {})
            )
        assert {note["name"] for note in operator.notes("first")} == {f"s{n}" for n in range(5)}
        assert len(operator.notes("second")) == 5
        lines = [json.loads(line) for line in operator.log.splitlines() if line.startswith("{")]
        named = [line for line in lines if line.get("object", {}).get("name") == "s0"]
        assert any("Handler 'first' succeeded" in line["message"] for line in named)
        assert named[0]["object"]["kind"] == "Sample"
