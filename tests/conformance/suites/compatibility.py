"""Keeps what other projects' suites said of our cluster, and writes the tables of it in the documentation.

    python tests/conformance/suites/compatibility.py            # writes the tables from the results
    python tests/conformance/suites/compatibility.py --check    # only says which document is behind; exits 1

A result is a file, results/TABLE/NAME.json, with the fields of `Result`. results/tables.yaml says which tables there
are: the document each stands in, the heading of the column of names, the other columns (of COLUMNS), and whether a last
row sums up. In the document a table stands between two marks, which `marks` spells; what is between them is written
here only, and a test holds both together.

A script that measures something makes a `Result` for each row, from what it saw, and ends with

    for result in results:
        record("conformance", result)
    write_documents()

`record` keeps the counts of the run before in `earlier`, which the column `trend` shows. What did not pass or was
skipped is listed below the table, by reason.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]
RESULTS = HERE / "results"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What an earlier run counted."""

    date: str
    passed: int
    tests: int


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one suite: a row of a table."""

    name: str
    repository: str
    commit: str  # what of the repository was run: a short hash, a tag or a version
    committed: str = ""  # the commit's date
    date: str  # of the run
    passed: int
    failed: int
    skipped: int = 0
    seconds: float  # from the first test's start to the last one's end
    clusters: int = 1  # among which the tests were divided, side by side
    want: int = 0  # how many have to pass, and of how many that was said; 0: nothing was asked for
    of: int = 0
    note: str = ""
    failures: Mapping[str, str] = field(default_factory=dict)  # test: reason
    skips: Mapping[str, int] = field(default_factory=dict)  # reason: how many tests
    earlier: Sequence[Run] = ()

    def __post_init__(self) -> None:
        if len(self.failures) != self.failed:
            raise ValueError(f"{self.name}: failed is {self.failed}, but failures names {len(self.failures)}")
        if sum(self.skips.values()) != self.skipped:
            raise ValueError(f"{self.name}: skipped is {self.skipped}, skips {sum(self.skips.values())}")

    @property
    def tests(self) -> int:
        return self.passed + self.failed + self.skipped

    @property
    def holds(self) -> bool:
        return self.passed >= self.want


@dataclass(frozen=True, kw_only=True)
class Table:
    """An entry of tables.yaml."""

    name: str
    document: str
    names: str  # heading of the first column
    columns: Sequence[str]
    total: bool = False

    def __post_init__(self) -> None:
        unknown = sorted(set(self.columns) - set(COLUMNS))
        if unknown:
            raise ValueError(f"table {self.name}: no column {unknown[0]!r}; there are {', '.join(COLUMNS)}")


def _source(result: Result) -> str:
    return f"{result.repository}, {result.commit}" + (f" of {result.committed}" if result.committed else "")


def _seconds(result: Result) -> str:
    return f"{result.seconds:.0f}" + (f", {result.clusters} clusters" if result.clusters > 1 else "")


def _wanted(result: Result) -> str:
    if not result.want:
        return ""
    return f"{result.want} of {result.of}" + ("" if result.holds else ": **not reached**")


def _trend(result: Result) -> str:
    return ", ".join(f"{run.passed} of {run.tests} ({run.date})" for run in result.earlier[-3:])


COLUMNS: dict[str, tuple[str, Callable[[Result], str]]] = {
    "source": ("Repository and commit", _source),
    "version": ("Version", lambda result: result.commit),
    "tests": ("Tests", lambda result: str(result.tests)),
    "passed": ("Passed", lambda result: str(result.passed)),
    "failed": ("Failed", lambda result: str(result.failed)),
    "skipped": ("Skipped", lambda result: str(result.skipped)),
    "seconds": ("Seconds", _seconds),
    "wanted": ("Wanted", _wanted),
    "trend": ("Before", _trend),
    "date": ("Run on", lambda result: result.date),
    "note": ("", lambda result: result.note),
}
SUMS = {"tests", "passed", "failed", "skipped"}


def read_tables(folder: Path = RESULTS) -> list[Table]:
    entries = yaml.safe_load((folder / "tables.yaml").read_text())
    return [Table(name=name, **entry) for name, entry in entries.items()]


def read_results(table: str, folder: Path = RESULTS) -> list[Result]:
    """The results of a table, by name."""
    found = (_read(path) for path in (folder / table).glob("*.json"))
    return sorted(found, key=lambda result: result.name.lower())


def _read(path: Path) -> Result:
    stored: dict[str, Any] = json.loads(path.read_text())
    unknown = sorted(stored.keys() - {one.name for one in fields(Result)})
    if unknown:
        raise ValueError(f"{path}: no field {unknown[0]!r}")
    stored["earlier"] = [Run(**run) for run in stored.get("earlier", ())]
    return Result(**stored)


def record(table: str, result: Result, folder: Path = RESULTS) -> Path:
    """Keep a result in place of the one of its name, whose counts go on its list of earlier ones; where it lies."""
    if table not in {one.name for one in read_tables(folder)}:
        raise ValueError(f"tables.yaml has no table {table!r}")
    path = folder / table / (re.sub(r"[^a-z0-9.]+", "-", result.name.lower()).strip("-") + ".json")
    if path.exists():
        before = _read(path)
        run = Run(date=before.date, passed=before.passed, tests=before.tests)
        # Of the runs of a day the last one counts.
        result = replace(result, earlier=[*before.earlier, *([run] if run.date != result.date else [])])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(result), indent=2, ensure_ascii=False) + "\n")
    return path


def rendered(table: Table, results: Sequence[Result]) -> str:
    """Markdown: a row for each result, then what did not pass or was left out, by reason."""
    chosen = [COLUMNS[name] for name in table.columns]
    lines = [_row([table.names, *(heading for heading, _ in chosen)]), "|---" * (len(chosen) + 1) + "|"]
    lines += [_row([result.name, *(show(result) for _, show in chosen)]) for result in results]
    if table.total:
        lines.append(_row(["together", *(_sum(name, results) for name in table.columns)]))
    for result in results:
        reasons: dict[str, list[str]] = {}
        for test, reason in sorted(result.failures.items()):
            reasons.setdefault(reason, []).append(f"`{test}`")
        items = [f"- {', '.join(tests)}: {reason}" for reason, tests in reasons.items()]
        if items:
            lines += ["", f"{result.name}, what did not pass:", "", *items]
        items = [f"- {count}: {reason}" for reason, count in sorted(result.skips.items())]
        if items:
            lines += ["", f"{result.name}, what was skipped:", "", *items]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _sum(column: str, results: Sequence[Result]) -> str:
    return str(sum(getattr(result, column) for result in results)) if column in SUMS else ""


def marks(table: str) -> tuple[str, str]:
    """What a table stands between in its document."""
    return (
        f"<!-- table {table}: written by tests/conformance/suites/compatibility.py -->",
        f"<!-- end of table {table} -->",
    )


def filled(document: str, table: Table, results: Sequence[Result]) -> str:
    """A document's text with the table written anew."""
    begin, end = marks(table.name)
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{table.document} has no lines {begin!r} and {end!r}")
    return f"{before}{begin}\n\n{rendered(table, results)}\n\n{end}{after}"


def documents(root: Path = CHECKOUT, folder: Path = RESULTS) -> dict[Path, str]:
    """Each document that has tables, and what it should read."""
    texts: dict[Path, str] = {}
    for table in read_tables(folder):
        path = root / table.document
        texts[path] = filled(texts.get(path) or path.read_text(), table, read_results(table.name, folder))
    return texts


def write_documents(root: Path = CHECKOUT, folder: Path = RESULTS) -> None:
    for path, text in documents(root, folder).items():
        path.write_text(text)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    if not parser.parse_args().check:
        write_documents()
        return 0
    behind = [path for path, text in documents().items() if path.read_text() != text]
    for path in behind:
        print(f"{path.relative_to(CHECKOUT)} is behind its results")
    return 1 if behind else 0


if __name__ == "__main__":
    sys.exit(main())
