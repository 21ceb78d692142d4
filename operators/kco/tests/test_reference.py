"""The reference pages say what the code says, and every point of the acceptance list has a test."""

from pathlib import Path

import yaml

from kco.reference import named_tests, pages

FOLDER = Path(__file__).resolve().parent.parent


def test_57_the_reference_pages_are_made_from_the_code() -> None:
    for name, text in pages(FOLDER).items():
        assert (FOLDER / "docs" / name).read_text() == text, "run: python -m kco.reference"


def test_57_every_point_is_listed_with_its_state() -> None:
    points = yaml.safe_load((FOLDER / "docs" / "acceptance.yaml").read_text())
    assert sorted(points) == list(range(1, 65))
    for number, entry in points.items():
        assert entry["state"] in ("holds", "partly", "open")
        assert entry["state"] == "holds" or entry.get("open"), number
        assert number in named_tests(FOLDER / "tests") or entry.get("open"), number
