"""The runner of public charts reads its data as meant, and its table says what failed. The charts are run by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.nodes.images import read_rows
from slipway.cluster.nodes.simulated import read_book

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def runner() -> Any:
    spec = importlib.util.spec_from_file_location("public_charts", HERE / "public_charts.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_chart_has_images_or_behaviours_that_slipway_takes(runner: Any) -> None:
    charts = runner.read_charts()
    assert len({chart.name for chart in charts}) == len(charts) > 4
    for chart in charts:
        assert chart.shows["before"] != chart.shows["after"]
        if chart.runtime == "simulated":
            assert not chart.images
            read_book(runner.yaml.safe_dump({"behaviours": chart.behaviours}), chart.name)
        else:
            assert read_rows(runner.yaml.safe_dump({"images": chart.images}), chart.name)
            for row in chart.images:
                for path in row.get("paths", []):
                    place = path.replace("{here}", str(HERE))
                    assert place.startswith("{programs}") or Path(place).is_dir(), chart.name


def test_values_are_laid_over_others_as_helm_does_it(runner: Any) -> None:
    one = {"image": {"name": "a", "tag": "1"}, "hosts": ["a", "b"]}
    over = {"image": {"tag": "2"}, "hosts": ["c"]}
    assert runner.merged(one, over) == {"image": {"name": "a", "tag": "2"}, "hosts": ["c"]}
    assert one["image"]["tag"] == "1"


def test_the_table_says_after_how_many_steps_a_chart_failed_and_why(runner: Any) -> None:
    chart = next(one for one in runner.read_charts() if one.name == "podinfo")
    good = runner.Life(chart, "v3.1", "c0ffee of 2026-01-01", ["install", "test"], "", 3.0, 8, 9)
    bad = runner.Life(chart, "v4.1", "c0ffee of 2026-01-01", ["install"], "left: Pod/x\nmore", 0, 8, 9)
    row = runner.table([good, bad]).splitlines()[-1]
    assert row.endswith("| run | 8 | 9 | 2 steps, 3 s | **fails** after 1 steps: left: Pod/x |")
