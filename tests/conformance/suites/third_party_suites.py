"""Runs the end-to-end suites of other projects, unmodified, each against a fresh cluster of ours.

    python tests/conformance/suites/third_party_suites.py FOLDER [NAME ...]

FOLDER holds a checkout of each suite's repository; suites.yaml says which, how each is run and how many tests have to
pass. Prints a table and the failures; exits 1 when a suite passes fewer tests than it has to. With --record the results
are kept and the tables of the documentation written from them (compatibility.py).
"""

from __future__ import annotations

import argparse
import datetime
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
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import go_programs
import yaml
from compatibility import Result, read_tables, record, rendered, write_documents

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]
TIME_LIMIT = 3600  # seconds that one suite may take
QUIET = ("-q", "-p", "no:cacheprovider")


@dataclass(frozen=True)
class Suite:
    """One row of suites.yaml; the words are explained there."""

    name: str
    folder: str
    repository: str
    command: Sequence[str]
    want: int
    of: int
    install: Sequence[str] = ()
    build: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    report: str = "pytest"
    table: str = "suites"
    clusters: int = 1
    site: Sequence[str] = ()
    up: Sequence[str] = ()
    images: Sequence[Mapping[str, Any]] = ()
    pods: Mapping[str, Sequence[str]] = field(default_factory=dict)
    prepare: Sequence[str] = ()
    kubectl: Sequence[str] = ()
    beside: Sequence[str] = ()
    reruns: int = 0
    left_out: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)
    kubeconfig: str = ""
    directory: str = "."
    failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """How one test ended: passed, failed, error or skipped, and why it was skipped. `tries`: how often it was run."""

    word: str
    reason: str = ""
    tries: int = 1


def read_suites(path: Path = HERE / "suites.yaml") -> list[Suite]:
    return [Suite(**row) for row in yaml.safe_load(path.read_text())["suites"]]


def read_report(path: Path) -> dict[str, State]:
    """The state of each test in a JUnit report. A test that appears twice (its teardown failed) keeps the worse."""
    states: dict[str, State] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}".removeprefix("::")
        if case.get("status") == "passed" and "Suite] " in f"{case.get('name')} ":
            continue  # what Ginkgo does before and after the tests
        state = State("passed")
        for tag, word in (("skipped", "skipped"), ("failure", "failed"), ("error", "error")):
            found = case.find(tag)
            if found is not None:
                state = State(word, found.get("message", "").partition("\n")[0])
        if name not in states or states[name].word not in {"failed", "error"}:
            states[name] = state
    return states


def explained(states: Mapping[str, State], left_out: Mapping[str, str]) -> dict[str, State]:
    """With the reasons of tests that were skipped because their name has a part that is left out."""
    reasons = {
        name: [reason for part, reason in left_out.items() if part in name and state.word == "skipped"]
        for name, state in states.items()
    }
    return {name: State("skipped", reasons[name][0]) if reasons[name] else states[name] for name in states}


def result_of(suite: Suite, commit: str, states: Mapping[str, State], seconds: float) -> Result:
    bad = [name for name, state in states.items() if state.word in {"failed", "error"}]
    skips = Counter(state.reason or "no reason given" for state in states.values() if state.word == "skipped")
    known = {name: [why for part, why in suite.failures.items() if part in name] for name in bad}
    short, _, committed = commit.partition(" ")
    again = sum(state.tries > 1 and state.word == "passed" for state in states.values())
    return Result(
        name=suite.name,
        repository=suite.repository,
        commit=short,
        committed=committed,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        passed=sum(state.word == "passed" for state in states.values()),
        failed=len(bad),
        skipped=skips.total(),
        seconds=round(seconds, 1),
        clusters=suite.clusters,
        want=suite.want,
        of=suite.of,
        note=f"{again} passed when run again" if again else "",
        failures={name: reasons[0] if reasons else "not looked into yet" for name, reasons in known.items()},
        skips=dict(skips),
    )


def run(words: Sequence[str | Path], **options: Any) -> str:
    """A command that has to succeed; what it printed."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)
    if done.returncode:
        raise SystemExit(
            f"{shlex.join(map(str, words))} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
    return done.stdout


class Bench:
    """The place where one suite is installed: a copy of its checkout and a virtual environment."""

    def __init__(self, suite: Suite, folder: Path, work: Path, uv: str) -> None:
        self.suite, self.folder, self.work, self.uv = suite, folder, work, uv
        self.copy = work / "checkout"
        self.venv = work / "venv"
        self.pods = work / "pods"
        self.places = {
            "{checkout}": str(self.copy),
            "{folder}": str(folder),
            "{here}": str(HERE),
            "{pods}": str(self.pods),
            "{venv}": str(self.venv),
        }
        self.environment = {
            **{key: value for key, value in os.environ.items() if key not in {"VIRTUAL_ENV", "PYTHONPATH"}},
            "PATH": f"{self.venv / 'bin'}:{os.environ['PATH']}",
            "SETUPTOOLS_SCM_PRETEND_VERSION": "99.0",
            "UV_CACHE_DIR": run([uv, "cache", "dir"]).strip(),
            **(go_programs.caches() if suite.build else {}),
            **suite.environment,
        }

    def set_up(self) -> None:
        shutil.copytree(
            self.folder / self.suite.folder, self.copy, symlinks=True, ignore=shutil.ignore_patterns(".git")
        )
        if self.suite.install:
            self.install(self.venv, self.suite.install)
        if self.suite.pods:
            self.install(self.pods, self.suite.pods["install"])
        if packages := self.suite.pods.get("npm"):
            run(["npm", "install", "--global", "--prefix", self.pods, "--no-audit", "--no-fund", *packages])
        for words in go_programs.build_commands(self.suite.build, self.copy):
            run(words, cwd=self.copy, env=self.environment)
        for part in self.suite.site:
            shutil.copytree(self.copy / part, self.site_packages() / part, dirs_exist_ok=True)
        for source, name in self.suite.programs.items():
            target = self.copy / replaced(name, self.places)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(HERE / source, target)

    def install(self, venv: Path, wanted: Sequence[str]) -> None:
        words = [replaced(word, self.places) for word in wanted]
        python = venv / "bin/python"
        run([self.uv, "venv", "-q", "--python", sys.executable, venv])
        run(
            [self.uv, "pip", "install", "-q", "--compile-bytecode", "--python", python, *words],
            env=self.environment,
        )

    def site_packages(self) -> Path:
        return next((self.venv / "lib").glob("python3*/site-packages"))

    @property
    def directory(self) -> Path:
        return self.site_packages() if self.suite.site else self.copy / self.suite.directory

    @property
    def command(self) -> list[str]:
        return [replaced(word, self.places) for word in self.suite.command]

    def deals(self) -> list[list[str]]:
        """The command of each part: the suite's own, or with as many of the tests as come to it."""
        if self.suite.clusters == 1:
            return [self.command]
        listed = run([*self.command, *QUIET, "--collect-only"], cwd=self.directory, env=self.environment)
        tests = [line for line in listed.splitlines() if "::" in line]
        count = self.suite.clusters
        return [[*self.command[:-1], *tests[first::count]] for first in range(count)]


class Part:
    """Tests of a suite that share a cluster, and a home."""

    def __init__(self, bench: Bench, number: int, command: Sequence[str]) -> None:
        self.bench, self.command = bench, command
        self.work = bench.work / f"part-{number}"
        self.cluster = f"suite-{os.getpid()}-{number}"
        self.kubeconfig = self.work / "home" / ".kube" / "config"
        self.report = self.work / "report"
        self.programs: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **bench.environment,
            "HOME": str(self.work / "home"),
            "SLIPWAY_HOME": str(self.work / "slipway"),
            "KUBECONFIG": str(self.kubeconfig),
            "KIND_CLUSTER_KUBECONFIG": str(self.kubeconfig),
        }

    def set_up(self) -> None:
        suite, places = self.bench.suite, self.bench.places
        self.kubeconfig.parent.mkdir(parents=True)
        if suite.images:
            home = Path(self.environment["SLIPWAY_HOME"])
            home.mkdir()
            text = yaml.safe_dump({"images": list(suite.images)}, sort_keys=False)
            (home / "images.yaml").write_text(replaced(text, places))
        self.slipway("up", "--detach", "--name", self.cluster, *suite.up)
        self.kubeconfig.touch(0o600)
        self.kubeconfig.write_text(self.slipway("kubeconfig", self.cluster))
        orders = [*(f"apply -f {manifest}" for manifest in suite.prepare), *suite.kubectl]
        for order in orders:
            run(["kubectl", *shlex.split(replaced(order, places))], env=self.environment, cwd=self.bench.copy)
        for number, order in enumerate(suite.beside):
            with (self.work / f"beside-{number}.txt").open("wb") as output:
                program = subprocess.Popen(
                    shlex.split(replaced(order, places)), cwd=self.bench.copy, env=self.environment,
                    stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                )  # fmt: skip
            self.programs.append(program)

    def slipway(self, *words: str) -> str:
        return run([sys.executable, "-m", "slipway.cli", *words], env=self.environment, cwd=CHECKOUT)

    def play(self) -> dict[str, State]:
        """Run the tests; their states."""
        if self.bench.suite.report == "go test":
            return self.play_go()
        flags = [*QUIET, f"--junitxml={self.report}"]
        if self.bench.suite.report == "ginkgo":
            flags = go_programs.specs(self.report, self.bench.suite.left_out)
        words = [*self.command, *flags]
        if self.bench.suite.kubeconfig:
            words = within_mount(self.bench.suite.kubeconfig, str(self.kubeconfig), self.work, words)
        self.call(words, self.work / "output.txt")
        if not self.report.exists():
            raise SystemExit(f"{self.bench.suite.name} left no report; see {self.work / 'output.txt'}")
        return explained(read_report(self.report), self.bench.suite.left_out)

    def play_go(self) -> dict[str, State]:
        """Run the tests, and those that fail again, as often as the suite's own flow does."""
        suite = self.bench.suite
        words = go_programs.as_events(self.command)
        self.call([*words, *go_programs.without(suite.left_out)], self.report)
        states = {name: State(*found) for name, found in go_programs.read_events(self.report).items()}
        for number in range(1, suite.reruns + 1):
            for name in [name for name, state in states.items() if state.word == "failed"]:
                report = self.work / f"report-{number}-{name.replace('/', '-')}"
                self.call([*words, go_programs.only(name)], report)
                word, _ = go_programs.read_events(report).get(name, ("failed", ""))
                states[name] = State(word, tries=number + 1)
        return states | {name: State("skipped", reason) for name, reason in suite.left_out.items()}

    def call(self, words: Sequence[str], output: Path) -> None:
        with output.open("w") as stream:
            subprocess.run(
                words, cwd=self.bench.directory, env=self.environment, timeout=TIME_LIMIT,
                stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip

    def clear(self) -> None:
        for program in self.programs:
            program.terminate()
            program.wait(timeout=60)
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
    return run(["git", "-C", checkout, "log", "-1", "--abbrev=7", "--format=%h %cs"]).strip()


def play(suite: Suite, folder: Path, keep: Path | None, uv: str) -> Result:
    work = Path(tempfile.mkdtemp(prefix=f"slipway-suite-{suite.folder}-", dir=keep))
    bench = Bench(suite, folder, work, uv)
    with ExitStack() as leaving:
        if keep is None:
            leaving.callback(shutil.rmtree, work, ignore_errors=True)
        bench.set_up()
        parts = [Part(bench, number, command) for number, command in enumerate(bench.deals())]
        for part in parts:
            leaving.callback(part.clear)
            part.set_up()
        begin = time.monotonic()
        with ThreadPoolExecutor(len(parts)) as threads:
            reports = list(threads.map(Part.play, parts))
        seconds = time.monotonic() - begin
        states = {name: state for report in reports for name, state in report.items()}
        return result_of(suite, commit_of(folder / suite.folder), states, seconds)


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
    parser.add_argument(
        "--record", action="store_true", help="keep the results and write the documentation's tables"
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
    tables = {table.name: table for table in read_tables()}
    results = []
    for suite in chosen:
        if suite not in missing:
            results.append(play(suite, arguments.folder.resolve(), arguments.keep, uv))
            print(rendered(tables[suite.table], results[-1:]) + "\n", flush=True)
            if arguments.record:
                record(suite.table, results[-1])
                write_documents()
    return 0 if all(one.holds for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
