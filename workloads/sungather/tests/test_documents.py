"""The data files match their schemas, and the generated docs match the data."""

from __future__ import annotations

import importlib.util
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("table", ["registers", "devices"])
def test_a_data_file_matches_its_schema(table):
    folder = files("sungather.registers")
    schema = json.loads((folder / f"{table}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    data = yaml.safe_load((folder / f"{table}.yaml").read_text())
    as_json = json.loads(json.dumps(data))  # state numbers become keys, as JSON has them
    assert [e.message for e in Draft202012Validator(schema).iter_errors(as_json)] == []


def test_every_row_names_a_known_family_and_source():
    folder = files("sungather.registers")
    devices = yaml.safe_load((folder / "devices.yaml").read_text())
    assert {d["family"] for d in devices["devices"]} | {r["family"] for r in devices["ranges"]} <= set(
        devices["families"]
    )
    codes = [d["code"] for d in devices["devices"]]
    assert len(codes) == len(set(codes))


def test_the_generated_docs_are_up_to_date():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for name, content in generate.pages().items():
        assert (DOCS / name).read_text() == content, (
            f"run: python workloads/sungather/docs/generate.py ({name})"
        )


def test_every_link_between_the_docs_leads_somewhere():
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_acceptance_point_names_tests_that_exist():
    table = (DOCS / "acceptance.md").read_text()
    tests = "".join(p.read_text() for p in Path(__file__).parent.glob("test_*.py"))
    named = re.findall(r"`(test_[a-z0-9_]+)`", table)
    assert named
    for name in named:
        assert f"def {name}(" in tests or (Path(__file__).parent / f"{name}.py").exists(), name
    for point in range(23, 53):
        assert re.search(rf"^\| {point} \|", table, re.M), f"point {point} is missing"
