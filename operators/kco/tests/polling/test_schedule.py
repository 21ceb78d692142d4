"""When polls are due: even phases, no drift, exact rate limits."""

from hypothesis import given
from hypothesis import strategies as st

from kco.polling.rate import Bucket
from kco.polling.schedule import Schedule, following, phase


def test_19_a_thousand_first_polls_spread_over_the_interval() -> None:
    counts = [0] * 10
    for number in range(1000):
        counts[int(phase(f"uid-{number}/", 30.0) / 3.0)] += 1
    assert all(60 < count < 140 for count in counts)


@given(st.floats(0, 1e6), st.floats(0.5, 3600), st.lists(st.floats(0, 0.4), min_size=20, max_size=20))
def test_19_the_period_does_not_drift_however_long_the_work_takes(
    start: float, interval: float, work: list[float]
) -> None:
    planned = start
    for share in work:
        planned = following(planned, interval, planned + share * interval)
    assert abs((planned - start) / (20 * interval) - 1) < 0.01


@given(st.floats(0, 1000), st.floats(0.5, 60), st.floats(0, 10_000))
def test_19_missed_moments_are_skipped_and_the_rhythm_is_kept(
    start: float, interval: float, late: float
) -> None:
    planned = following(start, interval, start + late)
    assert planned > start + late or abs(planned - start - interval) < 1e-6
    assert abs((planned - start) / interval - round((planned - start) / interval)) < 1e-6


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 100)), max_size=300))
def test_19_each_key_is_due_once_at_its_latest_plan(plans: list[tuple[int, float]]) -> None:
    schedule: Schedule[int] = Schedule()
    latest: dict[int, float] = {}
    for key, due in plans:
        schedule.set(key, due)
        latest[key] = due
    schedule.drop(3)
    latest.pop(3, None)
    early = schedule.take(50.0)
    assert all(latest[key] <= 50.0 for key in early)
    taken = early + schedule.take(1000.0)
    assert sorted(taken) == sorted(latest)
    assert [latest[key] for key in taken] == sorted(latest.values())
    assert schedule.next_due() is None


def test_26_a_bucket_gives_its_burst_and_then_its_rate_exactly() -> None:
    bucket = Bucket(60, 5, 0.0)
    assert [bucket.take(0.0) == 0 for _ in range(6)] == [True] * 5 + [False]
    granted = sum(bucket.take(0.1 * tick) == 0 for tick in range(1, 601))
    assert granted == 60


def test_26_waiting_as_long_as_told_is_enough() -> None:
    bucket = Bucket(7, 1, 0.0)
    now = 0.0
    for _ in range(50):
        wait = bucket.take(now)
        if wait:
            now += wait
            assert bucket.take(now) == 0
