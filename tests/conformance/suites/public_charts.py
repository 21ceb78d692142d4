"""Takes public Helm charts through their life with the Helms given, each on a fresh cluster of ours.

    python tests/conformance/suites/public_charts.py FOLDER --helm PATH [--helm PATH] [--programs PATH] [NAME ...]

FOLDER holds a checkout of each chart's repository, the folder of --programs the programs that their images stand for;
public_charts.yaml says which, and what a chart must do. Prints a table; exits 1 when a step of one fails.
"""

from __future__ import annotations

import argparse
import copy
import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]
RELEASE = "one"
NAMESPACE = "charts"
PATIENCE = 60.0
"""Seconds that something may take to come about: an answer of a program, the end of what a release left."""
PASSING = ("events", "leases", "componentstatuses", "endpoints", "nodes", "namespaces")
"""Resources that come and go whatever a chart does, or that hold what Helm is not asked to remove."""


class StepFailed(Exception):
    """A step did not do what it has to; the text says what it did."""


@dataclass(frozen=True)
class Question:
    """kubectl's words, what it reads, and what it must say within PATIENCE."""

    kubectl: Sequence[str]
    say: str = ""
    input: Any = None


@dataclass(frozen=True)
class Chart:
    """One row of public_charts.yaml; the words are explained there."""

    name: str
    folder: str
    repository: str
    chart: str
    runtime: str
    values: Mapping[str, Any]
    upgrade: Mapping[str, Any]
    broken: Mapping[str, Any]
    shows: Mapping[str, Any]
    put: Mapping[str, str] = field(default_factory=dict)
    leave_out: Sequence[str] = ()
    programs: Sequence[str] = ()
    images: Sequence[Object] = ()
    behaviours: Sequence[Object] = ()
    before: Any = None
    serves: Sequence[Question] = ()
    tests: int = 0
    steady: bool = True
    leaves: Sequence[str] = ()
    seconds: int = 120

    @classmethod
    def of(cls, row: Object) -> Chart:
        return cls(**{**row, "serves": [Question(**one) for one in row.get("serves", [])]})


@dataclass
class Life:
    """What became of a chart with one Helm: the steps that held, in order, and the error of the one that did not."""

    chart: Chart
    helm: str
    commit: str
    held: list[str] = field(default_factory=list)
    error: str = ""
    seconds: float = 0
    objects: int = 0
    hooks: int = 0

    def __str__(self) -> str:
        if self.error:
            return f"**fails** after {len(self.held)} steps: {self.error.splitlines()[0][:160]}"
        return f"{len(self.held)} steps, {self.seconds:.0f} s"


def read_charts(path: Path = HERE / "public_charts.yaml") -> list[Chart]:
    return [Chart.of(row) for row in yaml.safe_load(path.read_text())["charts"]]


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> Object:
    """Values with others laid over them, as Helm lays one file of values over another."""
    result = dict(one)
    for key, value in other.items():
        both = isinstance(result.get(key), Mapping) and isinstance(value, Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def replaced(value: Any, mark: str, text: str) -> Any:
    if isinstance(value, str):
        return value.replace(mark, text)
    if isinstance(value, Mapping):
        return {key: replaced(one, mark, text) for key, one in value.items()}
    return [replaced(one, mark, text) for one in value] if isinstance(value, list) else value


def eventually(check: Callable[[], str]) -> None:
    """Ask until the check has no complaint left; StepFailed with the last one."""
    end = time.monotonic() + PATIENCE
    while complaint := check():
        if time.monotonic() > end:
            raise StepFailed(complaint)
        time.sleep(0.2)


class Stage:
    """A cluster, a copy of the chart with its dependencies beside it, and the Helm that works on them."""

    def __init__(self, chart: Chart, helm: Path, folder: Path, programs: Path, work: Path) -> None:
        self.chart, self.helm_program, self.folder, self.programs = chart, helm, folder, programs
        self.work = work
        self.copy = work / "chart"
        self.cluster = f"chart-{os.getpid()}"
        home = work / "home"
        home.mkdir()
        self.environment = {**os.environ, "HOME": str(home), "SLIPWAY_HOME": str(work / "slipway")}
        self.version = self.run([helm, "version", "--template", "{{.Version}}"]).strip()
        self.fails_back = ["--atomic"] if self.version.startswith("v3.") else ["--rollback-on-failure"]

    def run(self, words: Sequence[str | Path], text: str | None = None) -> str:
        done = self.try_to_run(words, text)
        if done.returncode:
            said = done.stderr.strip() or done.stdout.strip()
            raise StepFailed(f"{Path(words[0]).name} {shlex.join(map(str, words[1:4]))} …: {said[-3000:]}")
        return done.stdout

    def try_to_run(
        self, words: Sequence[str | Path], text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in words],
            capture_output=True, text=True, input=text, env=self.environment, cwd=CHECKOUT, check=False,
        )  # fmt: skip

    def helm(self, *words: str) -> str:
        return self.run([self.helm_program, *words])

    def kubectl(self, *words: str, text: str | None = None) -> str:
        return self.run(["kubectl", *words], text)

    def slipway(self, *words: str) -> str:
        return self.run([sys.executable, "-m", "slipway.cli", *words])

    def set_up(self) -> None:
        self._copy_chart()
        (self.work / "slipway").mkdir()
        rows = replaced(list(self.chart.images), "{programs}", str(self.programs))
        rows = replaced(rows, "{here}", str(HERE))
        (self.work / "slipway" / "images.yaml").write_text(yaml.safe_dump({"images": rows}))
        words = ["up", "--detach", "--name", self.cluster, "--runtime", self.chart.runtime]
        if self.chart.behaviours:
            path = self.work / "behaviours.yaml"
            path.write_text(yaml.safe_dump({"behaviours": list(self.chart.behaviours)}))
            words += ["--behaviours", str(path)]
        self.slipway(*words)
        kubeconfig = self.work / "kubeconfig"
        kubeconfig.touch(0o600)
        kubeconfig.write_text(self.slipway("kubeconfig", self.cluster))
        self.environment["KUBECONFIG"] = str(kubeconfig)
        self.kubectl("config", "set-context", "--current", f"--namespace={NAMESPACE}")
        if self.chart.before:
            self.kubectl("create", "namespace", NAMESPACE)
            self.kubectl("create", "-f", "-", text=yaml.safe_dump_all(self.chart.before))

    def _copy_chart(self) -> None:
        """What `helm dependency build` would do where there is a chart repository, from folders beside this one."""
        source = self.folder / self.chart.folder / self.chart.chart
        shutil.copytree(source, self.copy, symlinks=False, ignore=shutil.ignore_patterns("Chart.lock"))
        for target, path in self.chart.put.items():
            found = self.folder / path
            place = self.copy / target
            place.parent.mkdir(exist_ok=True)
            if found.is_dir():
                shutil.copytree(found, place)
            else:
                shutil.copy(found, place)
        path = self.copy / "Chart.yaml"
        described = yaml.safe_load(path.read_text())
        dependencies = described.get("dependencies", [])
        described["dependencies"] = [one for one in dependencies if one["name"] not in self.chart.leave_out]
        path.write_text(yaml.safe_dump(described))

    def values(self, *over: Mapping[str, Any]) -> list[str]:
        values = copy.deepcopy(dict(self.chart.values))
        for one in over:
            values = merged(values, one)
        path = self.work / "values.yaml"
        path.write_text(yaml.safe_dump(values))
        return ["--values", str(path)]

    def everything(self) -> set[str]:
        """All that there is in the cluster, whatever it is."""
        listed = self.kubectl("api-resources", "--verbs=list,create", "--output=name").split()
        names = [name for name in listed if name.partition(".")[0] not in PASSING]
        form = "{range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name}{'\\n'}{end}"
        found = self.kubectl("get", ",".join(names), "--all-namespaces", f"--output=jsonpath={form}")
        return set(found.split())

    def manifest(self) -> list[Object]:
        documents = yaml.safe_load_all(self.helm("get", "manifest", RELEASE))
        return [one for one in documents if one]

    def kubernetes(self) -> str:
        """The version of the cluster: a Helm built by hand says without asking 1.20."""
        version: str = json.loads(self.kubectl("version", "--output=json"))["serverVersion"]["gitVersion"]
        return version

    def generations(self) -> dict[str, Any]:
        """The generation of each object of the release: it grows when a specification changes."""
        form = "{range .items[*]}{.kind}/{.metadata.name}={.metadata.generation}{'\\n'}{end}"
        text = self.helm("get", "manifest", RELEASE)
        found = self.kubectl("get", "-f", "-", f"--output=jsonpath={form}", text=text)
        return dict(line.partition("=")[::2] for line in found.split())

    def clear(self) -> None:
        self.slipway("down", self.cluster)


class Play:
    """The steps of a chart's life. Each raises StepFailed when something is not as it has to be."""

    def __init__(self, stage: Stage, life: Life) -> None:
        self.stage, self.chart, self.life = stage, stage.chart, life
        self.patience = ["--wait", f"--timeout={self.chart.seconds}s"]
        self.before: set[str] = set()

    def steps(self) -> Iterator[tuple[str, Callable[[], None]]]:
        yield "template", self.template
        yield "install", self.install
        yield "status", self.status
        yield "manifest", self.manifest
        if self.chart.serves:
            yield "serve", self.serve
        if self.chart.tests:
            yield "test", self.test
        yield "upgrade", self.upgrade
        if self.chart.steady:
            yield "upgrade to the same", self.upgrade_to_the_same
        yield "failing upgrade", self.failing_upgrade
        yield "rollback", self.rollback
        yield "history", self.history
        yield "uninstall", self.uninstall

    def template(self) -> None:
        self.before = self.stage.everything()
        """Helm renders it and leaves the cluster as it was."""
        words = ["template", RELEASE, str(self.stage.copy), f"--kube-version={self.stage.kubernetes()}"]
        if not list(yaml.safe_load_all(self.stage.helm(*words, *self.stage.values()))):
            raise StepFailed("nothing was rendered")
        if made := self.stage.everything() - self.before:
            raise StepFailed(f"it made {sorted(made)}")

    def install(self) -> None:
        words = ["install", RELEASE, str(self.stage.copy), "--create-namespace", *self.patience]
        self.stage.helm(*words, *self.stage.values())

    def status(self) -> None:
        self._has_status("deployed")
        self._shows("before")

    def _has_status(self, wanted: str) -> None:
        status = json.loads(self.stage.helm("status", RELEASE, "-o", "json"))["info"]["status"]
        if status != wanted:
            raise StepFailed(f"the release is {status}, not {wanted}")

    def _shows(self, when: str) -> None:
        """A value of an object, as it has to be before and after the upgrade."""
        shows = self.chart.shows
        got = self.stage.kubectl("get", shows["object"], f"--output=jsonpath={shows['path']}")
        if got != str(shows[when]):
            raise StepFailed(f"{shows['object']} {shows['path']} is {got!r}, not {shows[when]!r}")

    def manifest(self) -> None:
        """Each object of the manifest is there."""
        text = self.stage.helm("get", "manifest", RELEASE)
        self.life.objects = len(self.stage.manifest())
        self.life.hooks = len(re.findall(r"helm.sh/hook\"?:", self.stage.helm("get", "hooks", RELEASE)))
        found = self.stage.kubectl("get", "-f", "-", "--output=name", text=text).split()
        if len(found) != self.life.objects:
            raise StepFailed(f"{self.life.objects} objects in the manifest, {len(found)} in the cluster")

    def serve(self) -> None:
        for question in self.chart.serves:
            eventually(lambda question=question: self._complaint(question))  # type: ignore[misc]

    def _complaint(self, question: Question) -> str:
        text = None if question.input is None else yaml.safe_dump_all(question.input)
        done = self.stage.try_to_run(["kubectl", *question.kubectl], text)
        if done.returncode == 0 and question.say in done.stdout:
            return ""
        return f"{question.kubectl}: wanted {question.say!r}, got {done.stdout[-500:]}{done.stderr[-500:]}"

    def test(self) -> None:
        said = self.stage.helm("test", RELEASE, f"--timeout={self.chart.seconds}s")
        passed = len(re.findall(r"Phase:\s+Succeeded", said))
        if passed != self.chart.tests:
            raise StepFailed(f"{passed} of {self.chart.tests} tests succeeded: {said}")

    def _upgrade(self, *words: str) -> list[str]:
        return ["upgrade", RELEASE, str(self.stage.copy), *words]

    def upgrade(self) -> None:
        self.stage.helm(*self._upgrade(*self.patience), *self.stage.values(self.chart.upgrade))
        self._shows("after")

    def upgrade_to_the_same(self) -> None:
        before = self.stage.generations()
        self.stage.helm(*self._upgrade(*self.patience), *self.stage.values(self.chart.upgrade))
        if changed := [key for key, value in self.stage.generations().items() if before.get(key) != value]:
            raise StepFailed(f"the same values changed {changed}")

    def failing_upgrade(self) -> None:
        values = self.stage.values(self.chart.upgrade, self.chart.broken)
        words = self._upgrade(*self.stage.fails_back, "--wait", "--timeout=15s", *values)
        done = self.stage.try_to_run([self.stage.helm_program, *words])
        if done.returncode == 0:
            raise StepFailed("the upgrade that cannot succeed did")
        if "rolled back" not in done.stderr:
            raise StepFailed(f"it was not rolled back: {done.stderr}")
        self._has_status("deployed")
        self._shows("after")

    def rollback(self) -> None:
        self.stage.helm("rollback", RELEASE, "1", *self.patience)
        self._shows("before")

    def history(self) -> None:
        entries = json.loads(self.stage.helm("history", RELEASE, "-o", "json"))
        seen = [entry["status"] for entry in entries]
        wanted = ["superseded"] * (3 if self.chart.steady else 2) + ["failed", "superseded", "deployed"]
        if seen != wanted:
            raise StepFailed(f"the history is {seen}, not {wanted}")

    def uninstall(self) -> None:
        self.stage.helm("uninstall", RELEASE, *self.patience)
        eventually(self._rest)

    def _rest(self) -> str:
        rest = sorted(
            one
            for one in self.stage.everything() - self.before
            if not one.startswith((f"ServiceAccount/{NAMESPACE}/default", "ConfigMap//"))
            and not one.endswith("/kube-root-ca.crt")
            and not any(fnmatch.fnmatchcase(one, form) for form in self.chart.leaves)
        )
        return f"left: {', '.join(rest)}" if rest else ""


def play(chart: Chart, helm: Path, folder: Path, programs: Path, keep: bool) -> Life:
    work = Path(tempfile.mkdtemp(prefix=f"slipway-chart-{chart.name}-"))
    stage = Stage(chart, helm, folder, programs, work)
    commit = stage.run(["git", "-C", folder / chart.folder, "log", "-1", "--format=%h of %cs"]).strip()
    life = Life(chart, stage.version, commit)
    print(f"{chart.name} with Helm {life.helm}:", end="", flush=True)
    try:
        stage.set_up()
        begin = time.monotonic()
        for name, step in Play(stage, life).steps():
            print(f" {name}", end="", flush=True)
            step()
            life.held.append(name)
        life.seconds = time.monotonic() - begin
    except StepFailed as error:
        life.error = f"{error}"
    print(f"\n    {life.error or life}", flush=True)
    if keep and life.error:
        print(f"    kept: SLIPWAY_HOME={work / 'slipway'} slipway down {stage.cluster}")
        return life
    stage.clear()
    shutil.rmtree(work, ignore_errors=True)
    return life


def table(lives: Sequence[Life]) -> str:
    """Markdown: a row for each chart, a column for each Helm."""
    helms = list(dict.fromkeys(life.helm for life in lives))
    lines = [
        "| Chart | Repository and commit | Pods | Objects | Hooks | " + " | ".join(f"Helm {one}" for one in helms) + " |",
        "|---|---|---|---|---|" + "---|" * len(helms),
    ]  # fmt: skip
    for name in dict.fromkeys(life.chart.name for life in lives):
        of = {life.helm: life for life in lives if life.chart.name == name}
        one = next(iter(of.values()))
        pods = "run" if one.chart.runtime == "namespaces" else one.chart.runtime
        lines.append(
            f"| {name} | {one.chart.repository}, {one.commit} | {pods} | {one.objects} | {one.hooks} | "
            + " | ".join(str(of.get(helm, "")) for helm in helms)
            + " |"
        )
    return "\n".join(lines)


def main() -> int:
    charts = {chart.name: chart for chart in read_charts()}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(charts)} (default: all)")
    parser.add_argument("--helm", type=Path, action="append", required=True, metavar="PATH")
    parser.add_argument(
        "--programs", type=Path, default=Path(), metavar="PATH", help="where the programs of images lie"
    )
    parser.add_argument("--keep", action="store_true", help="leave the cluster of what fails")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(charts)):
        parser.error(f"{unknown[0]}: choose from {', '.join(charts)}")
    lives = []
    for chart in [charts[name] for name in arguments.names or charts]:
        wanted = [arguments.folder / chart.folder, *(arguments.programs / name for name in chart.programs)]
        if absent := [str(path) for path in wanted if not path.exists()]:
            parser.error(f"{chart.name} needs {', '.join(absent)}")
        lives += [
            play(chart, helm, arguments.folder.resolve(), arguments.programs.resolve(), arguments.keep)
            for helm in arguments.helm
        ]
    print("\n" + table(lives))
    return 1 if any(life.error for life in lives) else 0


if __name__ == "__main__":
    sys.exit(main())
