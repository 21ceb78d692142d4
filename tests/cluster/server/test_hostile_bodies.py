"""Bodies that are made to harm, or that only look like text: each was answered with 500, or worse, before."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.exchange import Request
from slipway.cluster.schema.json_bodies import BadJson, parse_json
from slipway.cluster.server.api_bodies import apply_body, object_body, read_object
from slipway.cluster.server.yaml_bodies import yaml_bytes, yaml_value
from slipway.cluster.status import StatusError

Object = dict[str, Any]


def read(body: bytes, media: str = "application/yaml") -> Object:
    return object_body(Request("POST", "/", "", {"content-type": media}, body), "ConfigMap")


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (rb'{"a":"\ud800"}', {"a": "\ufffd"}),
        (rb'{"a":"\ud83d\ude00 \\ud800"}', {"a": "\U0001f600 \\ud800"}),
        (rb'{"\udc00":1}', {"\ufffd": 1}),
        (b'{"a":"\xff"}', {"a": "\ufffd"}),
    ],
)
def test_what_is_no_text_in_json_is_replaced_as_go_replaces_it(body: bytes, value: Object) -> None:
    assert parse_json(body) == value


def test_a_byte_order_mark_is_no_json() -> None:
    with pytest.raises(BadJson, match="invalid character 'ï' looking for beginning of value"):
        parse_json(b"\xef\xbb\xbf{}")


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"data: {1: b, true: c, null: d}", {"data": {"1": "b", "true": "c", "null": "d"}}),
        (b"a: 2026-01-01\nb: 2026-01-01T00:00:00Z", {"a": "2026-01-01", "b": "2026-01-01T00:00:00Z"}),
        (b"a: !!binary aGk=", {"a": "hi"}),
        (b"a: !!set {x, y}", {"a": {"x": None, "y": None}}),
        (b"a: !!python/object:os.system x", {"a": "x"}),
        (b"a: &d {x: 1}\nb: {<<: *d, y: 2}", {"a": {"x": 1}, "b": {"x": 1, "y": 2}}),
        (b"a: b\n---\na: c", {"a": "b"}),
    ],
)
def test_yaml_says_what_json_could_say(body: bytes, value: Object) -> None:
    assert read(body) == value


def laughs(levels: int) -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


def towers(levels: int) -> bytes:
    """Each stands on the one before: nothing is nested too deep until aliases are followed."""
    lines = ["a0: &a0 [x]"] + [
        f"a{level}: &a{level} {'[' * 60}*a{level - 1}{']' * 60}" for level in range(1, levels)
    ]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"a: &x [*x]", "contains itself"),
        (b"a: &x {b: {c: *x}}", "contains itself"),
        (laughs(10), "document contains excessive aliasing"),
        (b"? [a]\n: b", "invalid map key"),
        (b"a: .inf", "json: unsupported value: "),
        (b"a: [" * 3000, "yaml: "),
        (b"a: " + b"[" * 300_000, "yaml: exceeded max depth of 200"),
        (b"- " * 300_000, "yaml: exceeded max depth of 200"),
        (b"\n".join(b" " * level + b"a:" for level in range(300)), "yaml: exceeded max depth of 200"),
        (towers(5), "yaml: exceeded max depth of 200"),
    ],
)
def test_yaml_that_cannot_be_json_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(StatusError, match=why) as refused:
        read(body)
    assert refused.value.code == 400
    with pytest.raises(StatusError, match=why) as refused:
        apply_body(Request("PATCH", "/", "", {}, body), "")
    assert refused.value.code == 400


def test_yaml_that_gives_a_key_again_is_read_to_the_end_and_complained_of() -> None:
    body = b"metadata: {name: a}\ndata: {<<: {a: z}, a: b}\nmetadata: {}\ndata:\n  a: c\n  a: d"
    request = Request("POST", "/", "", {"content-type": "application/yaml"}, body)
    value, strict_errors = read_object(request, "ConfigMap")
    assert value == {"metadata": {}, "data": {"a": "d"}}
    assert strict_errors == [
        "yaml: unmarshal errors:"
        '\n  line 3: key "metadata" already set in map'
        '\n  line 6: key "a" already set in map'
        '\n  line 5: key "data" already set in map'
    ]


def nested(levels: int) -> bytes:
    return b'{"a": ' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_json_is_read_as_deep_as_it_can_be_carried() -> None:
    parse_json(nested(200))
    parse_json(b'{"a": "' + b"[" * 100_000 + rb"\"" + b"{" * 100_000 + b'"}')
    parse_json(b"[" + b"[]," * 100_000 + b"[]]")
    for levels in (201, 100_000):
        with pytest.raises(BadJson, match=r"invalid character '\[' exceeded max depth"):
            parse_json(nested(levels))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Z"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_what_is_written_as_yaml_is_read_again(value: Any) -> None:
    assert yaml_value(yaml_bytes(value)) == value


REPEATED = b"""
spec:
  foo: foo1
  foo: foo2
  1: {a: 1, a: 2}
  1: x"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            REPEATED,
            [
                'line 4: key "foo" already set in map',
                'line 5: key "a" already set in map',
                "line 6: key 1 already set in map",
            ],
        ),
        (b'{"a": 1,\n "a": 2}', ['line 2: key "a" already set in map']),
        (b'{"a": 1, "b": {"a": 2}}', []),
    ],
    ids=["YAML", "JSON", "none"],
)
def test_keys_that_an_applied_configuration_has_twice_are_told_by_their_lines(
    body: bytes, said: list[str]
) -> None:
    request = Request("PATCH", "/", "", {"content-type": "application/apply-patch+yaml"}, body)
    assert apply_body(request, "Ignore")[1] == []
    assert apply_body(request, "Warn")[1] == said
    if said:
        with pytest.raises(StatusError) as refused:
            apply_body(request, "Strict")
        assert refused.value.message == (
            "error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors:\n  "
            + "\n  ".join(said)
        )


def test_of_a_key_that_an_applied_configuration_has_twice_the_last_counts() -> None:
    body = b'{"spec": {"a": {"x": 1}}, "spec": {"b": 2}}'
    assert apply_body(Request("PATCH", "/", "", {}, body), "Warn")[0] == {"spec": {"b": 2}}
    assert apply_body(Request("PATCH", "/", "", {}, b"# YAML\n" + body), "Warn")[0] == {"spec": {"b": 2}}


@pytest.mark.parametrize(
    ("number", "kept"),
    [
        ("1.0", 1),
        ("1e2", 100),
        ("-0.0", 0),
        ("1.5", 1.5),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", 2.0**63),
        ("123456789012345678901234567890", 1.2345678901234568e29),
    ],
)
def test_numbers_of_a_configuration_are_those_that_go_would_write(number: str, kept: float) -> None:
    value, _ = apply_body(Request("PATCH", "/", "", {}, f'{{"spec": {number}}}'.encode()), "")
    assert value["spec"] == kept
    assert type(value["spec"]) is type(kept)


def test_a_number_beyond_all_floats_is_refused() -> None:
    for number in ("1e400", "9" * 400):
        with pytest.raises(StatusError, match="cannot unmarshal number into Go value of type float64"):
            apply_body(Request("PATCH", "/", "", {}, f'{{"spec": {number}}}'.encode()), "")
