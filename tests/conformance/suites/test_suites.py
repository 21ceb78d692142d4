"""The runner of third-party suites reads its data and a report as meant. The suites themselves are run by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import compatibility
import third_party_suites as runner

HERE = Path(__file__).parent


def test_every_suite_says_how_it_is_run_and_names_files_that_exist() -> None:
    suites = runner.read_suites()
    assert len({suite.name for suite in suites}) == len(suites) > 0
    tables = {table.name for table in compatibility.read_tables()}
    for suite in suites:
        assert suite.command
        assert suite.table in tables
        assert 0 < suite.want <= suite.of
        for name in [*suite.programs, *(path.removeprefix("{here}/") for path in suite.prepare)]:
            assert (HERE / name).is_file(), (suite.name, name)


def test_a_test_whose_teardown_fails_has_not_passed(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="a" name="good"/>'
        '<testcase classname="a" name="bad"><failure/></testcase>'
        '<testcase classname="a" name="left_out"><skipped message="needs two nodes&#10;and more"/></testcase>'
        '<testcase classname="a" name="late"/><testcase classname="a" name="late"><error/></testcase>'
        "</testsuite></testsuites>"
    )
    states = runner.read_report(report)
    assert {name: state.word for name, state in states.items()} == {
        "a::good": "passed",
        "a::bad": "failed",
        "a::left_out": "skipped",
        "a::late": "error",
    }
    assert states["a::left_out"].reason == "needs two nodes"


def test_a_result_has_the_reason_of_each_failure_and_counts_the_reasons_of_what_was_skipped() -> None:
    (suite,) = [one for one in runner.read_suites() if one.name == "kubernetes_asyncio"]
    words = {"bad": "failed", "new": "error", "good": "passed", "slow": "skipped", "odd": "skipped"}
    states = {f"a::{name}": runner.State(word, "not today") for name, word in words.items()}
    result = runner.result_of(replace(suite, failures={"bad": "because"}), "c0ffee 2026-01-01", states, 1.04)
    assert (result.passed, result.failed, result.skipped, result.tests) == (1, 2, 2, 5)
    assert result.failures == {"a::bad": "because", "a::new": "not looked into yet"}
    assert result.skips == {"not today": 2}
    assert (result.commit, result.committed, result.seconds) == ("c0ffee", "2026-01-01", 1.0)
    assert not result.holds
