"""The runner of workflows: which steps are run, in which order, what they share, and what becomes of the report."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "workflow_steps.py"
_MAY = subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode == 0

pytestmark = pytest.mark.skipif(not _MAY, reason="a mount namespace of its own is refused here")

WORKFLOW = """
jobs:
  build:
    steps:
      - {name: compile, run: "echo made > /tmp/result"}
  test:
    steps:
      - {uses: actions/checkout@v4}
      - {name: deploy, run: "grep made /tmp/result; test -f ../kept"}
      - {name: breaks, run: "false | true; touch not-reached"}
      - {name: after, run: "touch not-reached"}
"""


def test_steps_share_their_tmp_and_end_with_the_first_that_fails(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (tmp_path / "kept").touch()
    (checkout / "ci.yaml").write_text(WORKFLOW)
    report = tmp_path / "report"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "ci.yaml", "build", "test", "-q", "-p", "x", f"--junitxml={report}"],
        cwd=checkout,
        check=False,
    )
    cases = {
        case.get("name"): [(part.tag, part.get("message")) for part in case]
        for case in ElementTree.parse(report).iter("testcase")
    }
    assert cases == {
        "build::compile": [],
        "test::deploy": [],
        "test::breaks": [("failure", "ended with 1")],
        "test::after": [("skipped", "test::breaks failed before")],
    }
    assert not (checkout / "not-reached").exists()
    assert done.returncode == 1
