"""The runner of third-party suites reads its data and a report as meant. The suites themselves are run by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import compatibility
import go_programs
import third_party_suites as runner

from slipway.cluster.nodes import images

HERE = Path(__file__).parent


def test_every_suite_says_how_it_is_run_and_names_files_that_exist() -> None:
    suites = runner.read_suites()
    assert len({suite.name for suite in suites}) == len(suites) > 0
    tables = {table.name for table in compatibility.read_tables()}
    for suite in suites:
        assert suite.command
        assert suite.table in tables
        assert suite.install or suite.build
        assert suite.report in {"pytest", "ginkgo", "go test"}
        images.check_rows(list(suite.images), suite.name)
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


def test_what_ginkgo_does_around_the_tests_counts_only_when_it_fails(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase name="[BeforeSuite]" classname="E2E" status="passed"/>'
        '<testcase name="[AfterSuite]" classname="E2E" status="failed"><failure/></testcase>'
        '<testcase name="[It] works" classname="E2E" status="passed"/></testsuite></testsuites>'
    )
    states = runner.read_report(report)
    assert {name: state.word for name, state in states.items()} == {
        "E2E::[AfterSuite]": "failed",
        "E2E::[It] works": "passed",
    }


def test_of_a_go_test_and_its_subtests_the_subtests_count_unless_it_fails_by_itself(tmp_path: Path) -> None:
    events = [
        {"Action": "start"},
        *({"Action": "run", "Test": name} for name in ("A", "A/one", "A/two", "B", "B/one", "C", "D")),
        {"Action": "output", "Test": "A/two", "Output": "    suite_test.go:12: needs a cloud\n"},
        {"Action": "pass", "Test": "A/one"},
        {"Action": "skip", "Test": "A/two"},
        {"Action": "pass", "Test": "A"},
        {"Action": "pass", "Test": "B/one"},
        {"Action": "fail", "Test": "B"},
        {"Action": "pass", "Test": "C"},
        {"Action": "fail"},
    ]
    report = tmp_path / "report"
    report.write_text("".join(json.dumps(event) + "\n" for event in events) + "panic: no JSON\n")
    assert go_programs.read_events(report) == {
        "A/one": ("passed", ""),
        "A/two": ("skipped", "needs a cloud"),
        "B": ("failed", ""),
        "B/one": ("passed", ""),
        "C": ("passed", ""),
        "D": ("failed", ""),  # it never ended
    }


def test_a_go_program_is_built_where_its_row_says_and_tests_are_chosen_by_whole_names(tmp_path: Path) -> None:
    rows = {"bin/manager": "build -tags 'a b' ./cmd", "bin/e2e.test": "test ./test/e2e"}
    assert [words[1:] for words in go_programs.build_commands(rows, tmp_path)] == [
        ["build", "-o", f"{tmp_path}/bin/manager", "-tags", "a b", "./cmd"],
        ["test", "-c", "-o", f"{tmp_path}/bin/e2e.test", "./test/e2e"],
    ]
    assert go_programs.only("S/Test.One") == r"-test.run=^S$/^Test\.One$"
    assert go_programs.without(["S/A", "T"]) == ["-test.skip=^S$/^A$|^T$"]
    assert go_programs.without([]) == []


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


def test_specs_are_left_out_by_a_part_of_their_names_and_say_why(tmp_path: Path) -> None:
    left_out = {"gang (all)": "needs a scheduler"}
    assert go_programs.specs(tmp_path, left_out)[-1] == r"--ginkgo.skip=gang\ \(all\)"
    states = {
        "gang (all) one": runner.State("skipped", "skipped"),
        "gang (all) two": runner.State("failed"),
        "other": runner.State("skipped", "its own reason"),
    }
    assert runner.explained(states, left_out) == {
        **states,
        "gang (all) one": runner.State("skipped", "needs a scheduler"),
    }
