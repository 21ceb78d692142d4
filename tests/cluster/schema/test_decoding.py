"""Decoding of built-in objects, held to what a real 1.37 server answered and stored."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.schema.decoding import cannot_be_handled, decode
from slipway.cluster.schema.go_scalars import NotDecodable
from slipway.cluster.schema.json_bodies import BadJson, parse_json, summary, syntax_error

DATA = Path(__file__).parent / "data"
RECORDED = json.loads((DATA / "decoding-1.37.json").read_text())
STORED = json.loads(
    gzip.decompress((DATA.parents[1] / "patching" / "data" / "apply-1.37.json.gz").read_bytes())
)["kinds"]


@pytest.mark.parametrize("row", RECORDED, ids=lambda row: json.dumps(row["body"])[-60:])
def test_types_and_unknown_fields_are_reported_as_a_real_server_does(row: dict[str, Any]) -> None:
    message = None
    warnings: list[str] = []
    try:
        warnings = decode(row["body"], row["group"], row["version"], row["kind"]).strict_errors
    except NotDecodable as error:
        message = cannot_be_handled(row["kind"], row["version"], error).message
    assert message == row.get("message")
    assert warnings == row.get("warnings", [])


@pytest.mark.parametrize("row", [row for row in STORED if "schema" not in row], ids=lambda row: row["kind"])
def test_what_a_real_server_stored_decodes_to_itself_byte_for_byte(row: dict[str, Any]) -> None:
    group, _, version = row["apiVersion"].rpartition("/")
    answers = [step["answer"] for step in row["steps"] if step["status"] < 300]
    assert answers
    for answer in answers:
        decoded = decode(answer, group, version, row["kind"])
        assert json.dumps(decoded.obj) == json.dumps(answer)
        assert decoded.strict_errors == []


def config_map(text: str) -> Any:
    return decode(parse_json(text.encode()), "", "v1", "ConfigMap")


def test_members_that_come_twice_are_named_where_they_come_again_and_maps_are_joined() -> None:
    found = config_map('{"metadata":{"name":"x"},"data":{"a":"1","a":"2"},"data":{"b":"1"}}')
    assert found.strict_errors == ['duplicate field "data.a"', 'duplicate field "data"']
    assert found.obj["data"] == {"a": "2", "b": "1"}


def test_fields_that_come_twice_are_decoded_into_what_came_before() -> None:
    body = """{"spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d"}]}}},
               "spec": {"replicas": 2, "template": {"spec": {"containers": [{"image": "j"}], "dnsPolicy": "Default"}}}}"""
    spec = decode(parse_json(body.encode()), "apps", "v1", "Deployment").obj["spec"]
    assert spec["replicas"] == 2
    assert spec["template"]["spec"]["dnsPolicy"] == "Default"
    (container,) = spec["template"]["spec"]["containers"]
    assert (container["name"], container["image"]) == ("c", "j")


def test_a_null_that_comes_again_empties_a_map_and_leaves_a_text() -> None:
    assert "data" not in config_map('{"metadata":{"name":"x"},"data":{"a":"1"},"data":null}').obj
    assert config_map('{"metadata":{"name":"x","name":null}}').obj["metadata"]["name"] == "x"


def test_what_is_inside_an_unknown_field_is_not_looked_at() -> None:
    found = config_map('{"metadata":{"name":"x","name":"y"},"foo":{"a":1,"a":2}}')
    assert found.strict_errors == ['duplicate field "metadata.name"', 'unknown field "foo"']


def test_unknown_fields_in_lists_are_named_with_their_index() -> None:
    body = {"spec": {"foo": 1, "template": {"bar": 2, "spec": {"containers": [{"name": "a", "xx": {}}]}}}}
    assert decode(body, "apps", "v1", "Deployment").strict_errors == [
        'unknown field "spec.foo"',
        'unknown field "spec.template.bar"',
        'unknown field "spec.template.spec.containers[0].xx"',
    ]


def test_values_get_their_one_spelling_and_empty_ones_go_where_go_omits_them() -> None:
    pod = decode(
        {
            "metadata": {"name": "p", "labels": {}, "creationTimestamp": "2026-01-01T01:00:00.5+01:00"},
            "spec": {
                "containers": [
                    {
                        "name": "c",
                        "args": [],
                        "stdin": False,
                        "env": [{"name": "a", "value": ""}, None],
                        "resources": {"limits": {"cpu": 1, "memory": "1024Mi"}, "requests": {"cpu": "0.5"}},
                        "securityContext": {"runAsUser": 0, "privileged": False},
                    }
                ],
                "hostNetwork": False,
                "activeDeadlineSeconds": 0,
            },
        },
        "",
        "v1",
        "Pod",
    ).obj
    assert pod == {
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "containers": [
                {
                    "name": "c",
                    "env": [{"name": "a"}, {"name": ""}],
                    "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
                    "securityContext": {"privileged": False, "runAsUser": 0},
                }
            ],
            "activeDeadlineSeconds": 0,
        },
        "status": {},
    }


@pytest.mark.parametrize(
    ("patched", "message"),
    [
        ({"data": {"x": 1}}, "cannot convert int64 to string"),
        ({"data": ["x"]}, "cannot restore map from slice"),
        ({"metadata": {"finalizers": "x"}}, "cannot restore slice from string"),
    ],
)
def test_strategic_merge_patch_words_wrong_types_in_its_own_way(patched: Any, message: str) -> None:
    with pytest.raises(NotDecodable, match=message):
        decode(patched, "", "v1", "ConfigMap", style="unstructured")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"metadata":{"name":"x"}', "unexpected end of JSON input"),
        ("", "unexpected end of JSON input"),
        ("nope", "invalid character 'o' in literal null (expecting 'u')"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ('{"a":1} {}', "invalid character '{' after top-level value"),
        ('{"a":01}', "invalid character '1' after object key:value pair"),
        ("{'a':1}", r"invalid character '\'' looking for beginning of object key string"),
        ('{"a"1}', "invalid character '1' after object key"),
        ("[1 2]", "invalid character '2' after array element"),
        ('{"a":"\\x"}', "invalid character 'x' in string escape code"),
        ('{"a":"\\u12g4"}', "invalid character 'g' in \\u hexadecimal character escape"),
        ('{"a":1.}', "invalid character '}' after decimal point in numeric literal"),
        ('{"a":-}', "invalid character '}' in numeric literal"),
        ('{"a":1e}', "invalid character '}' in exponent of numeric literal"),
        ('{"a":NaN}', "invalid character 'N' looking for beginning of value"),
    ],
)
def test_what_is_no_json_is_refused_in_the_words_of_go(body: str, message: str) -> None:
    with pytest.raises(BadJson) as error:
        parse_json(body.encode())
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"", "<empty>"),
        (b"[]", "5b5d"),
        (b'"x"', "227822"),
        (b'{"kind": 1}', '{"kind": 1}'),
        (b'{"apiVersion": "x/y/z", "kind": "ConfigMap"}', '{"apiVersion": "x/y/z", "kind" ...'),
    ],
)
def test_a_body_that_is_not_understood_is_quoted_in_short(body: bytes, shown: str) -> None:
    assert summary(body) == shown


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_every_json_text_is_read_back_and_has_no_syntax_error(value: Any) -> None:
    body = json.dumps(value).encode()
    assert parse_json(body) == value
    assert syntax_error(body) == ""


@given(st.binary(max_size=20))
def test_any_bytes_are_read_or_refused_with_words(body: bytes) -> None:
    try:
        parse_json(body)
    except BadJson as error:
        words = str(error)
    else:
        words = "read"
    assert words


pods = st.fixed_dictionaries(
    {},
    optional={
        "hostname": st.text(max_size=3) | st.integers(),
        "containers": st.lists(
            st.dictionaries(
                st.sampled_from(["name", "image", "args", "bogus", "ports"]), json_values, max_size=3
            ),
            max_size=2,
        ),
        "nodeSelector": st.dictionaries(st.text(max_size=3), json_values, max_size=2),
        "activeDeadlineSeconds": json_values,
    },
)


@given(pods)
def test_decoding_twice_is_decoding_once_or_both_are_refused(spec: Any) -> None:
    try:
        once = decode({"spec": spec}, "", "v1", "Pod").obj
    except NotDecodable as error:
        assert "json: cannot unmarshal" in str(error)  # noqa: PT017 - either outcome is fine
        return
    again = decode(once, "", "v1", "Pod")
    assert again.obj == once
    assert again.strict_errors == []


# What a real 1.37 server said of each, by hand.
BAD_BASE64 = [
    ("a", 0),
    ("ab", 0),
    ("abcdef", 4),
    ("ab\n", 1),
    ("ab=", 3),
    ("ab=c", 2),
    ("ab=é=", 2),
    ("a\nbé", 3),
    ("abcd=", 4),
    ("abc==", 4),
    ("ab==c", 4),
    ("ab==\nc", 5),
    ("====", 0),
]


@pytest.mark.parametrize(("text", "at"), BAD_BASE64)
def test_bytes_that_are_no_base64_are_refused_where_go_refuses_them(text: str, at: int) -> None:
    with pytest.raises(NotDecodable, match=rf"illegal base64 data at input byte {at}$"):
        decode({"data": {"k": text}}, "", "v1", "Secret")


@pytest.mark.parametrize(
    ("text", "one"), [("ab=\n=", "aQ=="), ("a\nb=\n=", "aQ=="), ("abc=\n", "abc="), ("", "")]
)
def test_bytes_are_stored_in_their_one_spelling(text: str, one: str) -> None:
    assert decode({"data": {"k": text}}, "", "v1", "Secret").obj["data"] == {"k": one}


def test_moments_of_the_first_years_keep_the_four_digits_of_their_year() -> None:
    times = {"acquireTime": "0001-01-01T00:00:02.000000Z", "renewTime": "0987-01-01T00:00:02.000000Z"}
    lease = {"metadata": {"name": "a", "creationTimestamp": "0001-01-01T00:00:00Z"}, "spec": times}
    assert decode(lease, "coordination.k8s.io", "v1", "Lease").obj["spec"] == times
