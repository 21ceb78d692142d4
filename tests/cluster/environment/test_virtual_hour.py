"""An hour of cluster time: every timer of it goes off when it should, and the same at every run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.client.client import Client
from slipway.cluster.client.discovery import discover
from slipway.cluster.client.resources import LEASES, NODES, PODS, ApiResource
from slipway.cluster.environment import virtual_time
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions

JOBS = ApiResource("batch", "v1", "jobs", "Job")
CRON_JOBS = ApiResource("batch", "v1", "cronjobs", "CronJob")
DEPLOYMENTS = ApiResource("apps", "v1", "deployments", "Deployment")
HOUR = 3600
POD = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}
BEHAVIOURS = """
behaviours:
  - match: {labels: {app: broken}}
    run: 1
    code: 1
  - match: {labels: {app: quick}}
    run: 5
"""


def template(app: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": app}}, "spec": {**POD, **spec}}


async def fill(client: Client) -> None:
    place = {"namespace": "default"}
    await client.create(
        CRON_JOBS,
        {
            "metadata": {"name": "minutely", **place},
            "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template("quick")}}},
        },
    )
    await client.create(
        JOBS,
        {
            "metadata": {"name": "forgotten", **place},
            "spec": {"ttlSecondsAfterFinished": 1800, "template": template("quick")},
        },
    )
    await client.create(
        JOBS,
        {
            "metadata": {"name": "failing", **place},
            "spec": {"backoffLimit": 3, "template": template("broken")},
        },
    )
    await client.create(
        PODS,
        {
            "metadata": {"name": "looping", **place, "labels": {"app": "broken"}},
            "spec": {**POD, "restartPolicy": "Always"},
        },
    )
    await client.create(
        DEPLOYMENTS,
        {
            "metadata": {"name": "web", **place},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "web"}},
                "template": template("web", restartPolicy="Always"),
            },
        },
    )


async def everything(client: Client) -> list[str]:
    found = []
    for served in await discover(client):
        if served.preferred and "list" in served.verbs and served.resource.group != "metrics.k8s.io":
            for obj in (await client.list(served.resource))["items"]:
                if obj["metadata"]["name"] == "kube-root-ca.crt":
                    obj["data"] = {}  # a key is new at every run, whatever the seed
                found.append(f"{served.resource.qualified} {json.dumps(obj, sort_keys=True)}")
    return found


async def check(client: Client) -> None:
    """What was due within the hour has happened, when it was due."""
    minutely = (await client.get(CRON_JOBS, "minutely", "default"))["status"]
    assert minutely["lastScheduleTime"] == "2026-01-01T01:01:00Z"
    jobs = {job["metadata"]["name"]: job["status"] for job in (await client.list(JOBS, "default"))["items"]}
    assert "forgotten" not in jobs
    # Attempts of a second each, and 10, 20 and 40 seconds between them.
    [failed] = [one for one in jobs["failing"]["conditions"] if one["type"] == "Failed"]
    assert (failed["reason"], failed["lastTransitionTime"]) == (
        "BackoffLimitExceeded",
        "2026-01-01T00:01:14Z",
    )
    # A container that fails runs again at once, then after 10, 20, 40, 80, 160 seconds, then after 300 each time.
    looping = await client.get(PODS, "looping", "default")
    assert looping["status"]["containerStatuses"][0]["restartCount"] == 17
    for lease in (await client.list(LEASES, "kube-node-lease"))["items"]:
        assert lease["spec"]["renewTime"] >= "2026-01-01T01:01:20"
    for node in (await client.list(NODES))["items"]:
        [ready] = [one for one in node["status"]["conditions"] if one["type"] == "Ready"]
        assert (ready["status"], ready["lastTransitionTime"]) == ("True", "2026-01-01T00:00:00Z")


def lived(behaviours: Path, seed: int, seconds: float) -> list[str]:
    """All objects of a cluster that was that long in use."""

    async def scene() -> list[str]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual_time.VirtualTimeLoop)
        options = ClusterOptions(nodes=2, listen=False, seed=seed, behaviours=behaviours)
        async with EmbeddedCluster(options, clock=loop.clock()) as cluster:
            client = cluster.client()
            await fill(client)
            await asyncio.sleep(seconds)
            if seconds > HOUR:
                await check(client)
            return await everything(client)

    return virtual_time.run(scene())


@pytest.fixture
def behaviours(tmp_path: Path) -> Path:
    path = tmp_path / "behaviours.yaml"
    path.write_text(BEHAVIOURS)
    return path


def test_an_hour_of_timers_goes_by_as_it_should_and_of_one_seed_to_the_last_field_alike(
    behaviours: Path,
) -> None:
    assert lived(behaviours, 7, HOUR + 90) == lived(behaviours, 7, HOUR + 90)


def test_another_seed_gives_other_names(behaviours: Path) -> None:
    assert lived(behaviours, 7, 10) != lived(behaviours, 8, 10)
