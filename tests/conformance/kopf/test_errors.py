"""What becomes of a handler that fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from slipway.cluster.environment.test_cluster import TestCluster

LAST_HANDLED = "kopf.zalando.org/last-handled-configuration"


def handled(obj: dict[str, Any]) -> bool:
    return LAST_HANDLED in obj["metadata"].get("annotations", {})


def test_a_temporary_error_is_tried_again_and_progress_is_kept_on_the_object(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("errors") as operator:
        samples("one", annotations={"case": "temporary"})
        held = cluster.wait(
            "samples",
            "one",
            lambda obj: "kopf.zalando.org/temporary" in obj["metadata"].get("annotations", {}),
        )
        progress = json.loads(held["metadata"]["annotations"]["kopf.zalando.org/temporary"])
        assert progress["retries"] >= 1
        assert progress["success"] is False
        assert progress["message"].startswith("attempt")
        done = cluster.wait(
            "samples", "one", lambda obj: handled(obj) and "temporary" in obj.get("status", {})
        )
        assert [note["retry"] for note in operator.notes("temporary")] == [0, 1, 2, 3]
        assert done["status"]["temporary"] == {"retries": 3}
        assert "kopf.zalando.org/temporary" not in done["metadata"]["annotations"]


def test_permanent_errors_and_limits_end_the_handling(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("errors") as operator:
        for case in ("permanent", "arbitrary", "retries", "timeout", "modes"):
            samples(case, annotations={"case": case})
        for case in ("permanent", "arbitrary", "retries", "timeout", "modes"):
            cluster.wait("samples", case, handled)
        assert len(operator.notes("permanent")) == 1
        assert [note["retry"] for note in operator.notes("arbitrary")] == [0, 1]
        assert [note["retry"] for note in operator.notes("two tries")] == [0, 1]
        assert 2 <= len(operator.notes("one second")) <= 6
        assert len(operator.notes("mode permanent")) == 1
        assert len(operator.notes("mode ignored")) == 1
        cluster.wait(
            "events",
            "",
            lambda listed: any(
                event["involvedObject"]["name"] == "permanent"
                and event["type"] == "Error"
                and "failed permanently: never" in event["message"]
                for event in listed["items"]
            ),
        )


def test_progress_survives_the_operator(cluster: TestCluster, run: Any, samples: Callable[..., Any]) -> None:
    with run("errors") as first:
        samples("one", annotations={"case": "temporary"})
        first.wait("temporary", retry=1)
        first.process.kill()
        first.process.wait()
        tried = len(first.notes("temporary"))
        first.process.returncode = 0
    with run("errors") as second:
        cluster.wait("samples", "one", handled)
        retries = [note["retry"] for note in second.notes("temporary")]
        assert retries[-1] == 3
        assert retries[0] in {
            tried - 1,
            tried,
        }  # the last one may have been killed before it was written down
