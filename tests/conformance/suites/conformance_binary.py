"""Runs the upstream conformance binary SIG by SIG, each against a fresh cluster of ours.

    python tests/conformance/suites/conformance_binary.py E2E_TEST [SIG ...] --images FILE --kubectl PROGRAM

E2E_TEST is the binary built from k8s.io/kubernetes/test/e2e; FILE the images list that conformance_images.py makes.
conformance_binary.yaml says which specs of each SIG are run, which are left out and why, and how many have to pass.
Prints a table and the failures; exits 1 when a SIG passes fewer specs than it has to.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]
MESSAGE_LENGTH = 120  # of what a spec says when it skips itself
TIME_LIMIT = 7200  # seconds that the specs of one SIG may take
BAD = {"failed", "panicked", "interrupted", "timedout", "aborted"}


@dataclass(frozen=True)
class Skip:
    """Specs that are left out. `later` says that a part of the cluster is missing which another issue brings."""

    match: str
    reason: str
    later: bool = False


@dataclass(frozen=True)
class Sig:
    """One row of conformance_binary.yaml; the words are explained there."""

    name: str
    focus: str
    want: int
    up: Sequence[str] = ()
    besides: str = ""
    skip: Sequence[Skip] = ()
    failures: Mapping[str, str] = field(default_factory=dict)

    def has(self, spec: str) -> bool:
        besides = self.besides and re.search(self.besides, spec)
        return bool(re.search(self.focus, spec)) and not besides

    def skipped(self, spec: str) -> Skip | None:
        return next((one for one in self.skip if re.search(one.match, spec)), None)


@dataclass(frozen=True)
class Outcome:
    """What became of a SIG's specs: the state of each by its full name, and the seconds taken."""

    sig: Sig
    states: Mapping[str, str]
    messages: Mapping[str, str]
    seconds: float

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.states.values())

    @property
    def bad(self) -> list[str]:
        return sorted(name for name, state in self.states.items() if state == "failed")

    @property
    def holds(self) -> bool:
        return self.counts["passed"] >= self.sig.want


def read_sigs(path: Path = HERE / "conformance_binary.yaml") -> dict[str, Sig]:
    rows = yaml.safe_load(path.read_text())["sigs"]
    sigs = [Sig(**{**row, "skip": [Skip(**skip) for skip in row.get("skip", ())]}) for row in rows]
    return {sig.name: sig for sig in sigs}


def read_report(sig: Sig, path: Path, seconds: float = 0.0) -> Outcome:
    """The binary's JSON report names every spec there is; of those in focus it says what became of them."""
    states, messages = {}, {}
    for report in json.loads(path.read_text()):
        for spec in report["SpecReports"] or ():
            name = " ".join([*(spec["ContainerHierarchyTexts"] or ()), spec["LeafNodeText"]])
            if spec["LeafNodeType"] != "It" or not sig.has(name):
                continue
            left_out = sig.skipped(name)
            if left_out is not None:
                states[name] = "later" if left_out.later else "left out"
                messages[name] = left_out.reason
                continue
            states[name] = "failed" if spec["State"] in BAD else spec["State"]
            messages[name] = (
                (spec.get("Failure") or {}).get("Message", "").partition("\n")[0][:MESSAGE_LENGTH]
            )
    return Outcome(sig, states, messages, seconds)


class Bench:
    """The place where the specs of one SIG run: a cluster, a home, a folder for what is printed."""

    def __init__(self, sig: Sig, arguments: argparse.Namespace, work: Path) -> None:
        self.sig, self.work = sig, work
        self.program = arguments.program.absolute()
        self.kubectl = arguments.kubectl
        self.only = arguments.only
        self.cluster = f"conformance-{os.getpid()}"
        self.home = work / "home"
        self.environment = {
            **os.environ,
            "HOME": str(self.home),
            "SLIPWAY_HOME": str(work / "slipway"),
        }
        for folder in (self.home, work / "slipway"):
            folder.mkdir(parents=True)
        if arguments.images:
            shutil.copyfile(arguments.images, work / "slipway" / "images.yaml")

    def slipway(self, *words: str) -> str:
        command = [sys.executable, "-m", "slipway.cli", *words]
        done = subprocess.run(command, env=self.environment, cwd=CHECKOUT, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(
                f"slipway {shlex.join(words)} ended with {done.returncode}:\n{done.stderr[-4000:]}"
            )
        return done.stdout

    def set_up(self) -> None:
        self.slipway("up", "--detach", "--name", self.cluster, *self.sig.up)
        kubeconfig = self.work / "kubeconfig"
        kubeconfig.touch(0o600)
        kubeconfig.write_text(self.slipway("kubeconfig", self.cluster))

    def play(self) -> Path:
        """Run the specs; where their report lies."""
        report = self.work / "report.json"
        words = [
            str(self.program),
            "--provider=skeleton",
            f"--kubeconfig={self.work / 'kubeconfig'}",
            f"--kubectl-path={self.kubectl}",
            "--gather-metrics-at-teardown=false",
            "--disable-log-dump",
            "--dump-logs-on-failure=false",
            "--ginkgo.no-color",
            "--ginkgo.v",
            f"--ginkgo.focus={self.only or self.sig.focus}",
            f"--ginkgo.timeout={TIME_LIMIT}s",
            f"--ginkgo.json-report={report}",
            *(f"--ginkgo.skip={one.match}" for one in self.sig.skip),
            *([f"--ginkgo.skip={self.sig.besides}"] if self.sig.besides else []),
        ]
        with (self.work / "output.txt").open("w") as output:
            subprocess.run(
                words, cwd=self.work, env=self.environment, timeout=TIME_LIMIT + 120,
                stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
        if not report.exists():
            raise SystemExit(f"{self.sig.name} left no report; see {self.work / 'output.txt'}")
        return report

    def clear(self) -> None:
        self.slipway("down", self.cluster)


def play(sig: Sig, arguments: argparse.Namespace) -> Outcome:
    work = Path(
        tempfile.mkdtemp(prefix=f"slipway-conformance-{sig.name.partition(',')[0]}-", dir=arguments.keep)
    )
    bench = Bench(sig, arguments, work)
    try:
        bench.set_up()
        begin = time.monotonic()
        report = bench.play()
        return read_report(sig, report, time.monotonic() - begin)
    finally:
        bench.clear()
        if arguments.keep is None:
            shutil.rmtree(work, ignore_errors=True)


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown: a row for each SIG; each spec that failed or waits for another issue; how many were left out, and why."""
    lines = [
        "| SIG | Specs | Passed | Failed | Skipped by themselves | Left out | Later issue | Seconds | Wanted |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in outcomes:
        counts = one.counts
        lines.append(
            f"| {one.sig.name} | {len(one.states)} | {counts['passed']} | {counts['failed']} | {counts['skipped']} |"
            f" {counts['left out']} | {counts['later']} | {one.seconds:.0f} |"
            f" {one.sig.want}{'' if one.holds else ': **not reached**'} |"
        )
    for one in outcomes:
        lines += _remarks(one)
    return "\n".join(lines)


def _remarks(outcome: Outcome) -> list[str]:
    lines: list[str] = []
    for name in outcome.bad:
        reasons = [why for part, why in outcome.sig.failures.items() if part in name]
        lines.append(f"- failed: `{name}`: {reasons[0] if reasons else 'not looked into yet'}")
    waiting = sorted(name for name, state in outcome.states.items() if state == "later")
    lines += [f"- later: `{name}`: {outcome.messages[name]}" for name in waiting]
    reasons_of = Counter(
        (state, outcome.messages[name])
        for name, state in outcome.states.items()
        if state in {"left out", "skipped"}
    )
    for (state, reason), count in sorted(reasons_of.items()):
        lines.append(f"- {count} {state}: {reason}")
    return ["", f"{outcome.sig.name}:", "", *lines] if lines else []


def main() -> int:
    sigs = read_sigs()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program", type=Path, metavar="E2E_TEST")
    parser.add_argument("names", nargs="*", metavar="SIG", help=f"of: {', '.join(sigs)} (default: all)")
    parser.add_argument("--images", type=Path, help="the images list of conformance_images.py")
    parser.add_argument("--kubectl", default="kubectl", help="what specs run as kubectl")
    parser.add_argument("--only", metavar="REGEX", help="only these specs of the SIG")
    parser.add_argument(
        "--keep", type=Path, metavar="PATH", help="leave reports and output in a folder below PATH"
    )
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(sigs))
    if unknown:
        parser.error(f"{unknown[0]}: choose from {', '.join(sigs)}")
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        arguments.keep = arguments.keep.absolute()
    outcomes = []
    for name in arguments.names or sigs:
        outcomes.append(play(sigs[name], arguments))
        print(table(outcomes[-1:]), flush=True)
    if len(outcomes) > 1:
        print("\n" + table(outcomes))
    return 0 if all(one.holds for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
