"""The runner of third-party suites reads its data and a report as meant. The suites themselves are run by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def runner() -> Any:
    spec = importlib.util.spec_from_file_location("third_party_suites", HERE / "third_party_suites.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_suite_says_how_it_is_run_and_names_files_that_exist(runner: Any) -> None:
    suites = runner.read_suites()
    assert len({suite.name for suite in suites}) == len(suites) > 0
    for suite in suites:
        assert suite.command
        assert 0 < suite.want <= suite.of
        for name in [*suite.programs, *(path.removeprefix("{here}/") for path in suite.prepare)]:
            assert (HERE / name).is_file(), (suite.name, name)


def test_a_test_whose_teardown_fails_has_not_passed(runner: Any, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="a" name="good"/>'
        '<testcase classname="a" name="bad"><failure/></testcase>'
        '<testcase classname="a" name="left_out"><skipped/></testcase>'
        '<testcase classname="a" name="late"/><testcase classname="a" name="late"><error/></testcase>'
        "</testsuite></testsuites>"
    )
    states = runner.read_report(report)
    assert states == {"a::good": "passed", "a::bad": "failed", "a::left_out": "skipped", "a::late": "error"}


def test_the_table_gives_the_reason_of_each_failure_and_says_what_was_not_reached(runner: Any) -> None:
    (suite,) = [one for one in runner.read_suites() if one.name == "kubernetes_asyncio"]
    known = type(suite)(**{**suite.__dict__, "failures": {"bad": "because"}})
    states = {"a::bad": "failed", "a::new": "failed", "a::good": "passed"}
    shown = runner.table([runner.Outcome(known, "c0ffee of 2026-01-01", states, 1.0)])
    assert "| 3 | 1 | 2 | 0 | 1 | 12 of 12: **not reached** |" in shown
    assert "- `a::bad`: because" in shown
    assert "- `a::new`: not looked into yet" in shown
