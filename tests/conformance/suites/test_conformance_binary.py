"""The runner of the conformance binary reads its data and a report as meant. The binary itself is run by hand."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.nodes.images import check_rows

HERE = Path(__file__).parent


def loaded(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def runner() -> Any:
    return loaded("conformance_binary")


@pytest.fixture(scope="module")
def images() -> Any:
    return loaded("conformance_images")


def test_every_sig_has_patterns_that_are_patterns_and_a_reason_for_each_skip(runner: Any) -> None:
    sigs = runner.read_sigs()
    assert sigs
    for sig in sigs.values():
        assert re.compile(sig.focus)
        assert sig.want >= 0
        for skip in sig.skip:
            assert re.compile(skip.match)
            assert skip.reason


def spec(name: str, state: str, kind: str = "It") -> dict[str, Any]:
    return {
        "ContainerHierarchyTexts": ["[sig-auth] Accounts"],
        "LeafNodeText": name,
        "LeafNodeType": kind,
        "State": state,
        "Failure": {"Message": f"{name} said why"} if state == "skipped" else None,
    }


def test_a_report_tells_apart_what_failed_what_skipped_itself_and_what_was_left_out(
    runner: Any, tmp_path: Path
) -> None:
    sig = runner.Sig(
        "auth",
        r"\[sig-auth\]",
        1,
        skip=[runner.Skip("needs a cloud", "no cloud here"), runner.Skip("quota", "not enforced", True)],
    )
    report = tmp_path / "report.json"
    specs = [
        spec("good", "passed"),
        spec("bad", "timedout"),
        spec("by itself", "skipped"),
        spec("needs a cloud", "skipped"),
        spec("has a quota", "skipped"),
        spec("suite", "passed", "SynchronizedBeforeSuite"),
    ]
    report.write_text(json.dumps([{"SpecReports": specs}]))
    outcome = runner.read_report(sig, report, 2.0)
    assert outcome.counts == {"passed": 1, "failed": 1, "skipped": 1, "left out": 1, "later": 1}
    shown = runner.table([outcome])
    assert "| auth | 5 | 1 | 1 | 1 | 1 | 1 | 2 | 1 |" in shown
    assert "- failed: `[sig-auth] Accounts bad`: not looked into yet" in shown
    assert "- 1 left out: no cloud here" in shown
    assert "- later: `[sig-auth] Accounts has a quota`: not enforced" in shown
    assert "- 1 skipped: by itself said why" in shown


def test_a_sig_that_passes_too_few_has_not_held(runner: Any) -> None:
    outcome = runner.Outcome(runner.Sig("auth", "", 2), {"a": "passed", "b": "failed"}, {}, 1.0)
    assert not outcome.holds
    assert "2: **not reached**" in runner.table([outcome])


def test_every_image_is_made_after_its_base_and_makes_rows_of_an_images_list(images: Any) -> None:
    made: set[str] = set()
    for recipe in images.read_recipes():
        assert not recipe.base or recipe.base in made, recipe.name
        made.add(recipe.name)
        assert check_rows(recipe.rows(Path("/roots") / recipe.name), recipe.name)
