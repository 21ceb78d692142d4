"""Runs the commands of a GitHub workflow's jobs in order, for projects whose end-to-end test is written there.

    python workflow_steps.py FILE JOB [JOB ...] --junitxml=REPORT

Each step that has commands is a test of the report; what comes after one that failed is skipped, as there. Steps that
use an action are passed over: what they would set up is there already, or of no use here. /tmp is a folder of the
run's own, in which only the folder around the checkout (the working directory) is seen as before: steps keep in /tmp
what later ones need.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import yaml


def steps(document: dict[str, Any], jobs: list[str]) -> list[tuple[str, str]]:
    """The name and the commands of each step that has commands."""
    return [
        (f"{job}::{step.get('name', number)}", step["run"])
        for job in jobs
        for number, step in enumerate(document["jobs"][job]["steps"])
        if "run" in step
    ]


def within_tmp(own: Path, kept: Path, words: list[str]) -> list[str]:
    """The command with `own` as its /tmp; what is seen at `kept` stays."""
    place = own / kept.relative_to("/tmp") if kept.is_relative_to("/tmp") else None
    orders = [
        *([f"mount --bind {shlex.quote(str(kept))} {shlex.quote(str(place))}"] if place else []),
        f"mount --rbind {shlex.quote(str(own))} /tmp",
        f"exec {shlex.join(words)}",
    ]
    if place:
        place.mkdir(parents=True, exist_ok=True)
    user = ["--user", "--map-root-user"] if os.geteuid() else []
    return ["unshare", *user, "--mount", "sh", "-c", " && ".join(orders)]


def run(found: list[tuple[str, str]]) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite")
    with tempfile.TemporaryDirectory() as folder:
        failed = ""
        for name, commands in found:
            case = ElementTree.SubElement(suite, "testcase", name=name)
            if failed:
                ElementTree.SubElement(case, "skipped", message=f"{failed} failed before")
                continue
            print(f"=== {name}", flush=True)
            (Path(folder) / "step.sh").write_text(commands)
            words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "/tmp/step.sh"]
            begin = time.monotonic()
            done = subprocess.run(within_tmp(Path(folder), Path.cwd().parent, words), check=False)
            case.set("time", f"{time.monotonic() - begin:.1f}")
            if done.returncode:
                failed = name
                ElementTree.SubElement(case, "failure", message=f"ended with {done.returncode}")
    return suite


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("jobs", nargs="+", metavar="JOB")
    parser.add_argument("--junitxml", type=Path, metavar="REPORT", required=True)
    parser.add_argument(
        "-q", "-p", nargs="?", help=argparse.SUPPRESS
    )  # what third_party_suites.py tells pytest
    arguments = parser.parse_args()
    suite = run(steps(yaml.safe_load(arguments.file.read_text()), arguments.jobs))
    ElementTree.ElementTree(suite).write(arguments.junitxml)
    return 1 if suite.find("testcase/failure") is not None else 0


if __name__ == "__main__":
    sys.exit(main())
