"""Runs the end-to-end suites of other projects, unmodified, each against a fresh cluster of ours.

    python tests/conformance/suites/third_party_suites.py FOLDER [NAME ...]

FOLDER holds a checkout of each suite's repository; suites.yaml says which, how each is run and how many tests have to
pass. Prints a table and the failures; exits 1 when a suite passes fewer tests than it has to.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]
TIME_LIMIT = 1800  # seconds that one suite may take


@dataclass(frozen=True)
class Suite:
    """One row of suites.yaml; the words are explained there."""

    name: str
    folder: str
    repository: str
    install: Sequence[str]
    command: Sequence[str]
    want: int
    of: int
    site: Sequence[str] = ()
    up: Sequence[str] = ()
    prepare: Sequence[str] = ()
    programs: Mapping[str, str] = field(default_factory=dict)
    kubeconfig: str = ""
    directory: str = "."
    failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of a suite: the state of each test (passed, failed, error, skipped), and seconds taken."""

    suite: Suite
    commit: str
    states: Mapping[str, str]
    seconds: float

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.states.values())

    @property
    def bad(self) -> list[str]:
        return sorted(name for name, state in self.states.items() if state in {"failed", "error"})

    @property
    def holds(self) -> bool:
        return self.counts["passed"] >= self.suite.want


def read_suites(path: Path = HERE / "suites.yaml") -> list[Suite]:
    return [Suite(**row) for row in yaml.safe_load(path.read_text())["suites"]]


def read_report(path: Path) -> dict[str, str]:
    """The state of each test in a JUnit report. A test that appears twice (its teardown failed) keeps the worse."""
    states: dict[str, str] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}".removeprefix("::")
        state = "passed"
        for tag, word in (("skipped", "skipped"), ("failure", "failed"), ("error", "error")):
            if case.find(tag) is not None:
                state = word
        if states.get(name) not in {"failed", "error"}:
            states[name] = state
    return states


def run(words: Sequence[str | Path], **options: Any) -> str:
    """A command that has to succeed; what it printed."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)
    if done.returncode:
        raise SystemExit(
            f"{shlex.join(map(str, words))} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
    return done.stdout


class Bench:
    """The place where one suite runs: a copy of its checkout, a virtual environment, a cluster, a home."""

    def __init__(self, suite: Suite, folder: Path, work: Path, uv: str) -> None:
        self.suite, self.folder, self.work, self.uv = suite, folder, work, uv
        self.copy = work / "checkout"
        self.venv = work / "venv"
        self.home = work / "home"
        self.cluster = f"suite-{os.getpid()}"
        self.environment = {
            **{key: value for key, value in os.environ.items() if key not in {"VIRTUAL_ENV", "PYTHONPATH"}},
            "HOME": str(self.home),
            "PATH": f"{self.venv / 'bin'}:{os.environ['PATH']}",
            "SETUPTOOLS_SCM_PRETEND_VERSION": "99.0",
            "SLIPWAY_HOME": str(work / "slipway"),
            "UV_CACHE_DIR": run([uv, "cache", "dir"]).strip(),
        }

    def set_up(self) -> None:
        places = {"{checkout}": str(self.copy), "{folder}": str(self.folder), "{here}": str(HERE)}
        shutil.copytree(
            self.folder / self.suite.folder, self.copy, symlinks=True, ignore=shutil.ignore_patterns(".git")
        )
        run([self.uv, "venv", "-q", "--python", sys.executable, self.venv])
        install = [replaced(word, places) for word in self.suite.install]
        run(
            [self.uv, "pip", "install", "-q", "--python", self.venv / "bin/python", *install],
            env=self.environment,
        )
        for part in self.suite.site:
            shutil.copytree(self.copy / part, self.site_packages() / part, dirs_exist_ok=True)
        for source, target in self.suite.programs.items():
            (self.copy / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(HERE / source, self.copy / target)
        kubeconfig = self.home / ".kube" / "config"
        kubeconfig.parent.mkdir(parents=True)
        self.slipway("up", "--detach", "--name", self.cluster, *self.suite.up)
        kubeconfig.touch(0o600)
        kubeconfig.write_text(self.slipway("kubeconfig", self.cluster))
        self.environment |= {"KUBECONFIG": str(kubeconfig), "KIND_CLUSTER_KUBECONFIG": str(kubeconfig)}
        for manifest in self.suite.prepare:
            run(["kubectl", "apply", "-f", replaced(manifest, places)], env=self.environment)

    def site_packages(self) -> Path:
        return next((self.venv / "lib").glob("python3*/site-packages"))

    def slipway(self, *words: str) -> str:
        return run([sys.executable, "-m", "slipway.cli", *words], env=self.environment, cwd=CHECKOUT)

    def play(self) -> Path:
        """Run the suite's tests; where their report lies."""
        report = self.work / "report.xml"
        words = [
            *(replaced(word, {"{here}": str(HERE)}) for word in self.suite.command),
            f"--junitxml={report}",
            "-q",
            "-p",
            "no:cacheprovider",
        ]
        if self.suite.kubeconfig:
            words = within_mount(self.suite.kubeconfig, self.environment["KUBECONFIG"], self.work, words)
        directory = self.site_packages() if self.suite.site else self.copy / self.suite.directory
        with (self.work / "output.txt").open("w") as output:
            subprocess.run(
                words, cwd=directory, env=self.environment, timeout=TIME_LIMIT,
                stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
        if not report.exists():
            raise SystemExit(f"{self.suite.name} left no report; see {self.work / 'output.txt'}")
        return report

    def clear(self) -> None:
        self.slipway("down", self.cluster)


def replaced(word: str, places: Mapping[str, str]) -> str:
    for mark, place in places.items():
        word = word.replace(mark, place)
    return word


def within_mount(path: str, source: str, work: Path, words: Sequence[str]) -> list[str]:
    """The command in a mount namespace of its own, in which `source` is found at `path` below /etc."""
    for name in ("upper", "lower"):
        (work / "etc" / name).mkdir(parents=True)
    script = (
        f"mount -t overlay overlay -o lowerdir=/etc,upperdir={work}/etc/upper,workdir={work}/etc/lower /etc"
        f" && mkdir -p {Path(path).parent} && cp {source} {path} && exec {shlex.join(words)}"
    )
    return [
        "unshare",
        *(["--user", "--map-root-user"] if os.geteuid() else []),
        "--mount",
        "sh",
        "-c",
        script,
    ]


def commit_of(checkout: Path) -> str:
    return run(["git", "-C", checkout, "log", "-1", "--format=%h of %cs"]).strip()


def play(suite: Suite, folder: Path, keep: Path | None, uv: str) -> Outcome:
    work = Path(tempfile.mkdtemp(prefix=f"slipway-suite-{suite.folder}-", dir=keep))
    bench = Bench(suite, folder, work, uv)
    try:
        bench.set_up()
        begin = time.monotonic()
        report = bench.play()
        seconds = time.monotonic() - begin
        return Outcome(suite, commit_of(folder / suite.folder), read_report(report), seconds)
    finally:
        bench.clear()
        if keep is None:
            shutil.rmtree(work, ignore_errors=True)


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown: a row for each suite, then each test that did not pass with the reason that suites.yaml gives."""
    lines = [
        "| Suite | Repository and commit | Tests | Passed | Failed | Skipped | Seconds | Wanted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in outcomes:
        counts = one.counts
        lines.append(
            f"| {one.suite.name} | {one.suite.repository}, {one.commit} | {len(one.states)} | {counts['passed']} |"
            f" {counts['failed'] + counts['error']} | {counts['skipped']} | {one.seconds:.0f} |"
            f" {one.suite.want} of {one.suite.of}{'' if one.holds else ': **not reached**'} |"
        )
    for one in outcomes:
        if one.bad:
            lines += ["", f"{one.suite.name}: did not pass", ""]
        for name in one.bad:
            reasons = [why for part, why in one.suite.failures.items() if part in name]
            lines.append(f"- `{name}`: {reasons[0] if reasons else 'not looked into yet'}")
    return "\n".join(lines)


def main() -> int:
    suites = {suite.name: suite for suite in read_suites()}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of: {', '.join(suites)} (default: all there are)"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="PATH", help="leave reports and output in a folder below PATH"
    )
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(suites))
    if unknown:
        parser.error(f"{unknown[0]}: choose from {', '.join(suites)}")
    uv = shutil.which("uv") or os.environ.get("UV", "")
    if not uv:
        parser.error("uv is needed on PATH, or its path in UV")
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    chosen = [suites[name] for name in arguments.names or suites]
    missing = [suite for suite in chosen if not (arguments.folder / suite.folder).is_dir()]
    if missing and (arguments.names or len(missing) == len(chosen)):
        parser.error(
            f"{arguments.folder / missing[0].folder} is missing: a checkout of {missing[0].repository}"
        )
    outcomes = []
    for suite in chosen:
        if suite not in missing:
            outcomes.append(play(suite, arguments.folder.resolve(), arguments.keep, uv))
            print(table(outcomes[-1:]), flush=True)
    print("\n" + table(outcomes))
    return 0 if all(one.holds for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
