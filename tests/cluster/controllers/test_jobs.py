"""Jobs against a real API server: completions, failures, indexes, suspension, deadlines."""

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.client.objects import annotations_of, condition_of, metadata
from slipway.cluster.client.resources import EVENTS, JOBS, PODS
from slipway.cluster.controllers import index_sets

Play = Callable[..., None]


def job(**spec: Any) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    given = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "template": template}
    return {"metadata": {"name": "work"}, "spec": {**given, **spec}}


async def over(world: Any) -> Any:
    found = await world.get(JOBS, "work")
    for kind in ("Complete", "Failed"):
        if (condition_of(found, kind) or {}).get("status") == "True":
            return found
    return None


def succeed(pod: Any) -> tuple[str, int]:
    return "Succeeded", 0


def fail(pod: Any) -> tuple[str, int]:
    return "Failed", 1


def test_a_job_completes_and_counts_each_pod_once(play: Play) -> None:
    async def story(world: Any) -> None:
        world.kubelet.outcome = succeed
        await world.create(JOBS, job(completions=5, parallelism=2))
        while not await over(world):
            active = [p for p in await world.list(PODS) if p["status"]["phase"] in ("Pending", "Running")]
            assert len(active) <= 2
            await asyncio.sleep(0.2)
        found = await over(world)
        assert found["status"]["succeeded"] == 5
        assert found["status"]["uncountedTerminatedPods"] == {}
        assert found["status"]["completionTime"]
        complete = condition_of(found, "Complete") or {}
        assert complete["reason"] == "CompletionsReached"
        pods = await world.list(PODS, "batch.kubernetes.io/job-name=work,job-name=work")
        assert len(pods) == 5
        assert not any(metadata(pod).get("finalizers") for pod in pods)
        messages = [event["message"] for event in await world.list(EVENTS)]
        assert "Job completed" in messages
        assert await world.quiet(600) == []

    play(story)


def test_a_job_fails_after_its_backoff_limit_with_growing_pauses(play: Play) -> None:
    async def story(world: Any) -> None:
        world.kubelet.outcome = fail
        await world.create(JOBS, job(backoffLimit=2))
        started = world.clock.now()
        found = await world.until(lambda: over(world), 300)
        assert found["status"]["failed"] == 3
        failed = condition_of(found, "Failed") or {}
        assert failed["reason"] == "BackoffLimitExceeded"
        assert failed["message"] == "Job has reached the specified backoff limit"
        assert world.clock.now() - started >= 30  # 10 s after the first failure, 20 s after the second
        assert await world.quiet(600) == []

    play(story)


def test_an_indexed_job_runs_each_index_and_says_which_are_done(play: Play) -> None:
    async def story(world: Any) -> None:
        world.kubelet.outcome = succeed
        await world.create(JOBS, job(completions=4, parallelism=4, completionMode="Indexed"))
        found = await world.until(lambda: over(world))
        assert found["status"]["completedIndexes"] == "0-3"
        assert found["status"]["succeeded"] == 4
        pods = await world.list(PODS)
        indexes = {annotations_of(pod)["batch.kubernetes.io/job-completion-index"] for pod in pods}
        assert indexes == {"0", "1", "2", "3"}
        env = pods[0]["spec"]["containers"][0]["env"]
        assert env[0]["name"] == "JOB_COMPLETION_INDEX"
        assert pods[0]["spec"]["hostname"].startswith("work-")

    play(story)


def test_a_failure_policy_rule_ends_the_job_at_once(play: Play) -> None:
    async def story(world: Any) -> None:
        world.kubelet.outcome = lambda pod: ("Failed", 42)
        rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
        await world.create(JOBS, job(backoffLimit=6, podFailurePolicy={"rules": [rule]}))
        found = await world.until(lambda: over(world), 10)
        failed = condition_of(found, "Failed") or {}
        assert failed["reason"] == "PodFailurePolicy"
        assert "failed with exit code 42 matching FailJob rule at index 0" in failed["message"]
        assert found["status"]["failed"] == 1

    play(story)


def test_an_ignored_failure_is_not_counted(play: Play) -> None:
    async def story(world: Any) -> None:
        seen: set[str] = set()

        def first_fails(pod: Any) -> tuple[str, int]:
            seen.add(pod["metadata"]["name"])
            return ("Failed", 7) if len(seen) == 1 else ("Succeeded", 0)

        world.kubelet.outcome = first_fails
        rule = {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}}
        await world.create(JOBS, job(backoffLimit=0, podFailurePolicy={"rules": [rule]}))
        found = await world.until(lambda: over(world), 60)
        assert condition_of(found, "Complete")
        assert "failed" not in found["status"]

    play(story)


def test_one_failing_index_does_not_end_the_others(play: Play) -> None:
    async def story(world: Any) -> None:
        def outcome(pod: Any) -> tuple[str, int]:
            index = annotations_of(pod)["batch.kubernetes.io/job-completion-index"]
            return ("Failed", 1) if index == "1" else ("Succeeded", 0)

        world.kubelet.outcome = outcome
        await world.create(
            JOBS,
            job(
                completions=3,
                parallelism=3,
                completionMode="Indexed",
                backoffLimitPerIndex=1,
                backoffLimit=99,
            ),
        )
        found = await world.until(lambda: over(world), 200)
        assert (condition_of(found, "Failed") or {})["reason"] == "FailedIndexes"
        assert found["status"]["completedIndexes"] == "0,2"
        assert found["status"]["failedIndexes"] == "1"
        assert found["status"]["failed"] == 2

    play(story)


def test_a_suspended_job_has_no_pods_until_it_is_resumed(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(JOBS, job(suspend=True))
        await asyncio.sleep(10)
        assert await world.list(PODS) == []
        suspended = condition_of(await world.get(JOBS, "work"), "Suspended") or {}
        assert (suspended["status"], suspended["message"]) == ("True", "Job suspended")
        await world.merge(JOBS, "work", {"spec": {"suspend": False}})
        await asyncio.sleep(10)
        assert len(await world.list(PODS)) == 1
        await world.merge(JOBS, "work", {"spec": {"suspend": True}})
        await asyncio.sleep(30)
        assert await world.list(PODS) == []

    play(story)


def test_a_deadline_ends_a_job_that_runs_on(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(JOBS, job(activeDeadlineSeconds=30))
        found = await world.until(lambda: over(world), 60)
        assert (condition_of(found, "Failed") or {})["reason"] == "DeadlineExceeded"
        assert found["status"]["failed"] == 1
        assert not [pod for pod in await world.list(PODS) if not metadata(pod).get("deletionTimestamp")]

    play(story)


def test_deleting_a_job_frees_its_pods(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(JOBS, job(parallelism=2, completions=2))
        await asyncio.sleep(5)
        await world.api.delete(JOBS, "work", "default", propagation="Background")

        async def empty() -> bool:
            return not await world.list(PODS)

        await world.until(empty, 60)

    play(story)


@given(st.sets(st.integers(0, 200)))
def test_index_sets_are_read_as_they_are_written(numbers: set[int]) -> None:
    assert index_sets.parse(index_sets.to_text(numbers)) == numbers
