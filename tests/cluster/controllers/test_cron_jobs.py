"""CronJobs: the parser against its rules, and the controller against a real API server over days of virtual time."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.client.objects import annotations_of, name_of
from slipway.cluster.client.resources import CRON_JOBS, EVENTS, JOBS, PODS
from slipway.cluster.controllers.cron import CronError, parse

Play = Callable[..., None]


def after(text: str, start: str, zone: str = "UTC") -> str:
    found = parse(text).next(datetime.fromisoformat(start), ZoneInfo(zone))
    assert found
    return found.astimezone(ZoneInfo(zone)).isoformat()


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("*/15 * * * *", "2026-01-01T00:07:30+00:00", "2026-01-01T00:15:00+00:00"),
        ("0 12 * * MON-FRI", "2026-01-02T12:00:00+00:00", "2026-01-05T12:00:00+00:00"),
        ("30 4 1,15 * *", "2026-01-01T05:00:00+00:00", "2026-01-15T04:30:00+00:00"),
        ("0 0 13 * FRI", "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"),  # either day
        ("0 0 29 2 *", "2026-01-01T00:00:00+00:00", "2028-02-29T00:00:00+00:00"),
        ("5/20 * * * *", "2026-01-01T00:00:00+00:00", "2026-01-01T00:05:00+00:00"),
        ("0 0 ? jan,jul sun", "2026-01-05T00:00:00+00:00", "2026-01-11T00:00:00+00:00"),
        ("@monthly", "2026-12-15T00:00:00+00:00", "2027-01-01T00:00:00+00:00"),
        ("@every 90s", "2026-01-01T00:00:00+00:00", "2026-01-01T00:01:30+00:00"),
    ],
)
def test_the_next_time_is_found(text: str, start: str, expected: str) -> None:
    assert after(text, start) == expected


def test_a_zone_decides_when_it_is_noon_and_a_skipped_hour_is_skipped() -> None:
    assert after("0 12 * * *", "2026-07-01T00:00:00+00:00", "Europe/Berlin") == "2026-07-01T12:00:00+02:00"
    # On 2026-03-29 clocks in Berlin go from 02:00 to 03:00.
    assert after("30 2 * * *", "2026-03-29T00:00:00+00:00", "Europe/Berlin") == "2026-03-30T02:30:00+02:00"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "60 * * * *",
        "* * * * 7",
        "*/0 * * * *",
        "5-1 * * * *",
        "a * * * *",
        "@often",
        "@every x",
    ],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(CronError):
        parse(text)


fields = st.tuples(
    st.integers(0, 59), st.integers(0, 23), st.integers(1, 28), st.integers(1, 12), st.integers(0, 6)
)


@given(fields, st.lists(st.booleans(), min_size=5, max_size=5), st.integers(0, 10**8))
def test_the_next_time_matches_and_none_between_does(
    numbers: tuple[int, ...], stars: list[bool], offset: int
) -> None:
    text = " ".join("*" if star else str(number) for number, star in zip(numbers, stars, strict=True))
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=offset)
    schedule = parse(text)
    found = schedule.next(start)
    if found is None:
        return
    assert found > start
    values = (found.minute, found.hour, found.month)
    for value, index in zip(values, (0, 1, 3), strict=True):
        assert stars[index] or numbers[index] == value
    middle = start + (found - start) / 2
    assert schedule.next(middle) == found


def cron_job(schedule: str, **spec: Any) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    job = {"spec": {"parallelism": 1, "completions": 1, "backoffLimit": 0, "template": template}}
    return {"metadata": {"name": "tick"}, "spec": {"schedule": schedule, "jobTemplate": job, **spec}}


def succeed(pod: Any) -> tuple[str, int]:
    return "Succeeded", 0


def test_jobs_come_on_time_and_history_is_kept_short(play: Play) -> None:
    async def story(world: Any) -> None:
        world.kubelet.outcome = succeed
        await world.create(CRON_JOBS, cron_job("*/10 * * * *"))
        await asyncio.sleep(3600 + 30)
        found = await world.get(CRON_JOBS, "tick")
        assert found["status"]["lastScheduleTime"] == "2026-01-01T01:00:00Z"
        assert "active" not in found["status"]
        assert found["status"]["lastSuccessfulTime"] > "2026-01-01T01:00:00Z"
        jobs = await world.list(JOBS)
        assert len(jobs) == 3
        assert {annotations_of(job)["batch.kubernetes.io/cronjob-scheduled-timestamp"] for job in jobs} == {
            "2026-01-01T00:40:00Z",
            "2026-01-01T00:50:00Z",
            "2026-01-01T01:00:00Z",
        }
        assert len(await world.list(PODS)) == 3
        events = [event for event in await world.list(EVENTS) if event["involvedObject"]["kind"] == "CronJob"]
        assert {event["reason"] for event in events} == {
            "SuccessfulCreate",
            "SuccessfulDelete",
            "SawCompletedJob",
        }
        assert await world.quiet(500) == []

    play(story)


def test_forbid_waits_for_the_job_that_runs_and_replace_ends_it(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(CRON_JOBS, cron_job("* * * * *", concurrencyPolicy="Forbid"))
        await asyncio.sleep(190)
        (first,) = await world.list(JOBS)
        found = await world.get(CRON_JOBS, "tick")
        assert [reference["name"] for reference in found["status"]["active"]] == [name_of(first)]
        await world.merge(CRON_JOBS, "tick", {"spec": {"concurrencyPolicy": "Replace"}})
        await asyncio.sleep(60)
        (second,) = await world.list(JOBS)
        assert name_of(second) != name_of(first)

    play(story)


def test_a_suspended_cron_job_starts_nothing_and_too_late_is_too_late(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(CRON_JOBS, cron_job("0 * * * *", suspend=True, startingDeadlineSeconds=60))
        await asyncio.sleep(3600 + 600)
        assert await world.list(JOBS) == []
        await world.merge(CRON_JOBS, "tick", {"spec": {"suspend": False}})
        await asyncio.sleep(600)
        assert await world.list(JOBS) == []
        await asyncio.sleep(3600)
        assert len(await world.list(JOBS)) == 1

    play(story)


def test_a_finished_job_with_a_time_to_live_goes(play: Play) -> None:
    async def story(world: Any) -> None:
        world.kubelet.outcome = succeed
        job = cron_job("* * * * *")["spec"]["jobTemplate"]
        job["spec"]["ttlSecondsAfterFinished"] = 30
        await world.create(JOBS, {"metadata": {"name": "short"}, **job})
        await asyncio.sleep(20)
        assert len(await world.list(JOBS)) == 1
        await world.gone(JOBS, "short", seconds=60)
        assert await world.list(PODS) == []

    play(story)


def test_a_time_that_never_comes_is_announced(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(CRON_JOBS, cron_job(schedule="59 23 31 2 *"))
        await asyncio.sleep(5)
        (event,) = [event for event in await world.list(EVENTS) if event["reason"] == "InvalidSchedule"]
        assert event["message"].startswith("invalid schedule: 59 23 31 2 * : time difference")
        assert await world.list(JOBS) == []

    play(story)
