"""JSON paths as additionalPrinterColumns, scale and selectableFields use them."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.cluster.schema.jsonpath import InvalidJSONPath, compile_path, to_text

VALUE = {
    "a": {"b.c": 1, "d": [10, 20, 30], "e": {"f": "x"}},
    "items": [{"n": "one", "v": 1, "ok": True}, {"n": "two", "v": 2}],
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.e.f", ["x"]),
        ("$.a.e.f", ["x"]),
        (r".a.b\.c", [1]),
        (".a['b.c']", [1]),
        (".a.d[0]", [10]),
        (".a.d[-1]", [30]),
        (".a.d[0:2]", [10, 20]),
        (".a.d[::2]", [10, 30]),
        (".a.d[*]", [10, 20, 30]),
        (".a.d[0,2]", [10, 30]),
        (".items[*].n", ["one", "two"]),
        ('.items[?(@.n=="two")].v', [2]),
        (".items[?(@.v>1)].n", ["two"]),
        (".items[?(@.ok)].n", ["one"]),
        (".items[?(@.n != 'two')].v", [1]),
        ("..f", ["x"]),
        ("..n", ["one", "two"]),
        (".none.at.all", []),
        (".a.d.x", []),
    ],
)
def test_a_path_finds_what_kubectl_finds(path: str, found: list[Any]) -> None:
    assert compile_path(path).find(VALUE) == found


@pytest.mark.parametrize("path", ["nope", ".a[", ".a[?(@.b", ".a[x y]"])
def test_a_path_that_cannot_be_read_is_refused(path: str) -> None:
    with pytest.raises(InvalidJSONPath):
        compile_path(path)


def test_text_columns_print_objects_as_json_and_scalars_bare() -> None:
    assert [to_text(v) for v in ("s", 1, 1.5, True, None, {"b": [1], "a": "é"})] == [
        "s", "1", "1.5", "true", "<nil>", '{"a":"é","b":[1]}',
    ]  # fmt: skip
