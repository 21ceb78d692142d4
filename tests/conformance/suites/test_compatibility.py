"""Results of suites are kept as data, and the tables of the documentation say what the data says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from compatibility import (
    Result,
    Table,
    documents,
    filled,
    marks,
    read_results,
    read_tables,
    record,
    rendered,
    write_documents,
)

RESULT = Result(
    name="A suite, of theirs",
    repository="them/theirs",
    commit="c0ffee",
    committed="2026-01-01",
    date="2026-02-01",
    passed=7,
    failed=2,
    skipped=3,
    seconds=12.4,
    want=8,
    of=12,
    failures={"one": "a race", "two": "a race"},
    skips={"needs a GPU": 1, "needs a | cloud": 2},
)
TABLE = Table(
    name="suites",
    document="page.md",
    names="Suite",
    columns=["source", "tests", "passed", "seconds", "wanted", "trend"],
    total=True,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tables.yaml").write_text(
        "suites: {document: page.md, names: Suite, columns: [tests, passed, trend]}"
    )
    return tmp_path


def test_the_tables_of_the_documentation_are_those_of_the_results() -> None:
    for path, text in documents().items():
        assert path.read_text() == text, "run: python tests/conformance/suites/compatibility.py"


def test_every_folder_of_results_belongs_to_a_table_and_every_table_has_results() -> None:
    folder = Path(__file__).parent / "results"
    tables = read_tables()
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {table.name for table in tables}
    for table in tables:
        results = read_results(table.name)
        assert results
        assert len({result.name for result in results}) == len(results)


def test_a_row_says_what_was_run_and_what_was_not_reached_and_reasons_follow() -> None:
    lines = rendered(TABLE, [RESULT, replace(RESULT, name="another", clusters=4, want=0)]).splitlines()
    assert lines[:5] == [
        "| Suite | Repository and commit | Tests | Passed | Seconds | Wanted | Before |",
        "|---|---|---|---|---|---|---|",
        "| A suite, of theirs | them/theirs, c0ffee of 2026-01-01 | 12 | 7 | 12 | 8 of 12: **not reached** |  |",
        "| another | them/theirs, c0ffee of 2026-01-01 | 12 | 7 | 12, 4 clusters |  |  |",
        "| together |  | 24 | 14 |  |  |  |",
    ]
    assert "- `one`, `two`: a race" in lines
    assert "- 2: needs a | cloud" in lines


def test_a_new_result_takes_the_place_of_the_old_one_whose_counts_stay(folder: Path) -> None:
    record("suites", replace(RESULT, date="2026-01-30", passed=5), folder)
    record("suites", replace(RESULT, passed=6), folder)
    path = record("suites", RESULT, folder)
    assert path.name == "a-suite-of-theirs.json"
    (kept,) = read_results("suites", folder)
    assert (kept.passed, kept.date) == (7, "2026-02-01")
    (table,) = read_tables(folder)
    assert "| A suite, of theirs | 12 | 7 | 5 of 10 (2026-01-30) |" in rendered(table, [kept])


def test_a_document_is_changed_between_the_marks_alone(folder: Path) -> None:
    begin, end = marks("suites")
    page = folder / "page.md"
    page.write_text(f"# Before\n{begin}\nold\n{end}\nafter")
    record("suites", RESULT, folder)
    write_documents(folder, folder)
    (table,) = read_tables(folder)
    assert page.read_text() == f"# Before\n{begin}\n\n{rendered(table, [RESULT])}\n\n{end}\nafter"


def test_what_does_not_fit_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="has no lines"):
        filled("# No marks", TABLE, [RESULT])
    with pytest.raises(ValueError, match="no table 'charts'"):
        record("charts", RESULT, folder)
    with pytest.raises(ValueError, match="failed is 3, but failures names 2"):
        replace(RESULT, failed=3)
    with pytest.raises(ValueError, match="no column 'colour'"):
        replace(TABLE, columns=["colour"])
    path = record("suites", RESULT, folder)
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "red"}))
    with pytest.raises(ValueError, match="no field 'colour'"):
        read_results("suites", folder)
