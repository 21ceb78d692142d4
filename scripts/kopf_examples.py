#!/usr/bin/env python3
"""Run kopf's own examples, unmodified, on the selected cluster, and say of each whether it did as it says.

    slipway up --name examples --detach && eval "$(slipway env examples)"
    scripts/kopf_examples.py PATH-TO-KOPF/examples --python PYTHON [NAME ...]

PYTHON has kopf[dev], pykube-ng, pyyaml and pytest. What is done and expected is in kopf_examples.yaml beside this.
The examples are another project's and are not part of this repository.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

STEPS = Path(__file__).with_suffix(".yaml")
SECONDS = 60.0
CLEAN = """
kubectl delete kopfexamples --all -n default --wait=false
for name in $(kubectl get kopfexamples -n default -o name); do
  kubectl patch -n default $name --type merge -p '{"metadata":{"finalizers":null}}'
done
kubectl delete pods --all -n default --grace-period=0 --force
kubectl delete clusterkopfpeerings,kopfpeerings --all
kubectl delete mutatingwebhookconfigurations,validatingwebhookconfigurations auto.kopf.dev
"""


class Failure(Exception):
    """The example did not do as expected; the text says at which step."""


class Operator:
    """One process of the example and its log."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="kopf-example-")
        self._path = Path(self._folder.name) / "log"
        with self._path.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    @property
    def log(self) -> str:
        return self._path.read_text(errors="replace")

    def expect(self, pattern: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not re.search(pattern, self.log):
            if time.monotonic() > end:
                raise Failure(f"not in the log within {seconds:g} s: {pattern}; its end:\n{self.log[-1500:]}")
            time.sleep(0.1)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def start(kind: str, words: list[str], folder: Path, python: str) -> Operator:
    if kind == "pytest":
        return Operator(
            [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, *words], folder
        )
    if kind == "python":
        return Operator([python, "example.py", *words], folder)
    return Operator([python, "-m", "kopf", "run", *words, "example.py"], folder)


def take(step: dict[str, Any], operators: dict[str, Operator], folder: Path, python: str) -> None:
    if "stop" in step:
        operators[step["stop"]].stop()
    else:
        command = step["do"].replace("{kopf}", f"{python} -m kopf")
        done = shell(command, folder)
        said = (done.stdout + done.stderr).strip()
        if "fails" in step:
            if done.returncode == 0 or step["fails"] not in said:
                raise Failure(f"{command}: should have failed with {step['fails']!r}: {said}")
        elif done.returncode != 0:
            raise Failure(f"{command}: {said or done.returncode}")
    operator = operators[step["of"]] if "of" in step else next(iter(operators.values()))
    for pattern in step.get("expect", []):
        operator.expect(pattern, float(step.get("within", SECONDS)))


def play(plan: dict[str, Any], folder: Path, python: str) -> None:
    """Everything that the plan says; Failure when it does not come to pass."""
    if "before" in plan:
        shell(plan["before"], folder.parent if "-f" in plan["before"] else folder)
    operators: dict[str, Operator] = {}
    try:
        for kind, words in plan["run"].items():
            operators[kind] = start(kind, words, folder, python)
            if len(plan["run"]) > 1:
                operators[kind].expect("Initial authentication has finished", SECONDS)
        for step in plan.get("steps", []):
            take(step, operators, folder.parent, python)
        for kind in {"python", "pytest"} & operators.keys():
            operators[kind].process.wait(120)  # these end by themselves
        for operator in operators.values():
            code = operator.stop()
            if code != 0:
                raise Failure(f"exit code {code}: {operator.log[-1500:]}")
            if not plan.get("tracebacks") and "Traceback (most recent call last)" in operator.log:
                raise Failure(f"a traceback: {operator.log[operator.log.index('Traceback') :][:1500]}")
        for pattern in plan.get("at_end", []):
            next(iter(operators.values())).expect(pattern, 0)
    except subprocess.TimeoutExpired as error:
        raise Failure(f"{error.cmd}: took longer than {error.timeout:g} s") from None
    finally:
        for operator in operators.values():
            if operator.process.poll() is None:
                operator.process.kill()
                operator.process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("examples", type=Path)
    parser.add_argument("names", nargs="*", help="only these, by the beginning of their names")
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    if "KUBECONFIG" not in os.environ:
        parser.error('no cluster is selected: eval "$(slipway env)"')
    plans = yaml.safe_load(STEPS.read_text())
    examples = options.examples.resolve()
    (Path(examples.parent) / "peering.yaml").exists() or parser.error(
        f"{examples}: is not the examples folder of kopf"
    )
    shell(
        f"kubectl apply -f {examples}/crd.yaml && kubectl apply -f {examples.parent}/peering.yaml", examples
    )
    failed = 0
    for name, plan in plans["examples"].items():
        if options.names and not name.startswith(tuple(options.names)):
            continue
        begun = time.monotonic()
        try:
            play({**plans["defaults"], **plan}, examples / name.split(" ")[0], options.python)
            verdict = "passed"
        except Failure as failure:
            verdict = f"FAILED: {failure}"
            failed += 1
        shell(CLEAN, examples)
        print(f"{name:40} {time.monotonic() - begun:6.1f} s  {verdict}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
