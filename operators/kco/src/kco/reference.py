"""The reference pages that are made from code: settings, fields of the CRDs, and which test decides which point.

`python -m kco.reference` (in a checkout) writes docs/settings.md, docs/crd-reference.md and docs/acceptance.md; a
test holds pages and code together.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from kco.settings import PREFIX, Settings
from kco.spec.crd import action_run_definition, target_app_definition
from operator_kit.settings import variables

POINTS_FILE = "acceptance.yaml"


def settings_page() -> str:
    """Every setting: variables, default, bounds, meaning."""
    lines = [
        "# Settings",
        "",
        "Read once at start, from the environment. The first variable of a row wins over the second; an empty one counts as not set.",
        "A value that cannot be used ends the start with exit code 2 and one line that names the variable and what is allowed.",
        "",
        "| Variable | Default | Bounds | Meaning |",
        "|---|---|---|---|",
    ]
    names = variables(Settings, PREFIX)
    for name, field in Settings.model_fields.items():
        bounds = {}
        for rule in field.metadata:
            for word in ("ge", "le"):
                if hasattr(rule, word):
                    bounds[word] = f"{getattr(rule, word):g}"
        default = ", ".join(field.default) if isinstance(field.default, tuple) else str(field.default)
        spelt = " / ".join(f"`{variable}`" for variable in names[name])
        shown = f"{bounds.get('ge', '')} to {bounds.get('le', '')}" if bounds else ""
        lines.append(
            f"| {spelt} | {f'`{default}`' if default else 'empty'} | {shown} | {field.description} |"
        )
    return "\n".join(lines) + "\n"


def crd_page() -> str:
    """Every field of both CRDs."""
    lines = ["# CRD reference", ""]
    for definition in (target_app_definition(), action_run_definition()):
        spec = definition["spec"]
        version = spec["versions"][0]
        schema = version["schema"]["openAPIV3Schema"]
        lines += [
            f"## {spec['names']['kind']} (`{spec['group']}/{version['name']}`, short name `{spec['names']['shortNames'][0]}`)",
            "",
            schema["description"] + ".",
            "",
            "| Field | Type | |",
            "|---|---|---|",
        ]
        for part in ("spec", "status"):
            required = schema["properties"][part].get("required", [])
            lines += _rows(schema["properties"][part], part, required, 0)
        lines.append("")
    return "\n".join(lines)


def _rows(schema: dict[str, Any], path: str, required: list[str], depth: int) -> list[str]:
    rows = []
    for name, part in schema.get("properties", {}).items():
        where = f"{path}.{name}"
        notes = [part.get("description", "")]
        if name in required:
            notes.append("required")
        if "enum" in part:
            notes.append("one of " + ", ".join(part["enum"]))
        if "minimum" in part or "maximum" in part:
            notes.append(f"{part.get('minimum', '')} to {part.get('maximum', '')}")
        rows.append(f"| `{where}` | {_kind(part)} | {'; '.join(note for note in notes if note)} |")
        inner = part.get("items", part)
        # Triggers nest: one level of `all` and `any` says it all.
        if depth < 5 and name not in ("all", "any"):
            suffix = "[]" if "items" in part else ""
            rows += _rows(inner, where + suffix, inner.get("required", []), depth + 1)
    return rows


def _kind(part: dict[str, Any]) -> str:
    if part.get("x-kubernetes-int-or-string"):
        return "duration (`90`, `10m`)"
    if part.get("type") == "array":
        return f"list of {_kind(part['items'])}"
    return str(part.get("type", "any value"))


def acceptance_page(folder: Path) -> str:
    """Which tests decide which point, and what is open."""
    points = yaml.safe_load((folder / "docs" / POINTS_FILE).read_text())
    tests = named_tests(folder / "tests")
    lines = [
        "# Acceptance: point to test",
        "",
        "The number in a test's name is the point's. *holds*: its tests decide the whole point; *partly*: what is missing is said.",
        "",
        "| Point | What | State | Tests |",
        "|---|---|---|---|",
    ]
    for number, entry in sorted(points.items()):
        found = tests.get(number, [])
        shown = (
            ", ".join(f"`{name}` ({count})" if count > 1 else f"`{name}`" for name, count in found) or "none"
        )
        state = entry["state"] + (f": {entry['open']}" if entry.get("open") else "")
        lines.append(f"| {number} | {entry['what']} | {state} | {shown} |")
    return "\n".join(lines) + "\n"


def named_tests(folder: Path) -> dict[int, list[tuple[str, int]]]:
    """Point to (file, how many tests in it carry the number)."""
    counts: dict[int, dict[str, int]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        name = str(path.relative_to(folder))
        for number in re.findall(r"def test_(\d\d)_", path.read_text()):
            per_file = counts.setdefault(int(number), {})
            per_file[name] = per_file.get(name, 0) + 1
    return {number: sorted(per_file.items()) for number, per_file in counts.items()}


def pages(folder: Path) -> dict[str, str]:
    """File name to content."""
    return {
        "settings.md": settings_page(),
        "crd-reference.md": crd_page(),
        "acceptance.md": acceptance_page(folder),
    }


def main() -> None:
    folder = Path(__file__).resolve().parent.parent.parent
    for name, text in pages(folder).items():
        (folder / "docs" / name).write_text(text)


if __name__ == "__main__":
    main()
