"""Runs the same kubectl commands against two clusters and prints where their answers differ. By hand:

    python tests/conformance/compare_kubectl.py REAL.kubeconfig OURS.kubeconfig [--kubectl PATH]

Both should be without controllers (a real kube-apiserver with etcd; `slipway.cluster.Cluster(nodes=0,
controllers=False, scheduler=False, service_account_admission=False)`), for those work at their own pace. Each gets
the namespace `compared`, and objects outside of it, which a second run on the same cluster finds: use fresh ones.
"""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
import subprocess
from pathlib import Path

DATA = Path(__file__).parent / "kubectl"
SECONDS = 30.0  # for one command
SHOWN = 40  # lines of a difference
# What no two clusters have in common, and what stands for it.
CHANGING = (
    (r"https://[\w.]+:\d+", "URL"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "UID"),
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"\b(\w{3}, \d+ \w+ \d{4}|\d{4}-\d\d-\d\d) \d\d:\d\d:\d\d(\.\d+)? [+-]\d{4}( UTC)?", "DATE"),
    (r'"?[Rr]esource ?[Vv]ersion"?: *"?\d+"?', "RESOURCE-VERSION"),
    (r"\b10\.\d+\.\d+\.\d+\b", "ADDRESS"),
    (r"([: ])3[0-2]\d{3}/", r"\1NODE-PORT/"),
    (r"\b(\d+d)?(\d+h)?(\d+m)?\d+(\.\d+)?s\b|\b\d+[mhd]\b(?!i)", "AGE"),
    (r"\b(web|job|node-debugger-nn|debugger)-[a-z0-9]{5}\b", r"\1-RANDOM"),
    (r"/tmp/(LIVE|MERGED)-\d+", r"/tmp/\1"),
    (r"[IWE]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ", "LOG "),
    (r"[ \t]+", " "),
)


def words(line: str) -> list[str]:
    """A command's arguments; those with JSON in them stand as they are."""
    return line.split(" ") if "{" in line else shlex.split(line)


def answer(kubectl: str, config: Path, line: str) -> list[str]:
    """Exit code, output and errors, without what changes from one cluster to the next."""
    command = [kubectl, "--kubeconfig", str(config), "--namespace", "compared", *words(line)]
    try:
        done = subprocess.run(
            command,
            cwd=DATA,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [f"no answer within {SECONDS:g} s"]
    text = f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    for pattern, name in CHANGING:
        text = re.sub(pattern, name, text)
    return text.splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(description="Where two clusters answer kubectl differently.")
    parser.add_argument("real", type=Path)
    parser.add_argument("ours", type=Path)
    parser.add_argument("--kubectl", default="kubectl")
    given = parser.parse_args()
    configs = [path.resolve() for path in (given.real, given.ours)]
    for config in configs:
        answer(given.kubectl, config, "create namespace compared")
    lines = [line for line in (DATA / "commands.txt").read_text().splitlines() if line and line[0] != "#"]
    different = 0
    for line in lines:
        real, ours = (answer(given.kubectl, config, line) for config in configs)
        if real != ours:
            different += 1
            changes = list(difflib.unified_diff(real, ours, "real", "ours", lineterm="", n=0))[2:]
            print(f"kubectl {line}", *changes[:SHOWN], "", sep="\n")
    print(f"{different} of {len(lines)} commands are answered differently")


if __name__ == "__main__":
    main()
