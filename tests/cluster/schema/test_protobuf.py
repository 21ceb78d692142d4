"""Protobuf bodies: they mean what the same command says in JSON, and nonsense is refused with its place."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.schema.protobuf import MAGIC, ProtobufError, decode, is_protobuf

JsonObject = dict[str, Any]
RECORDED: list[JsonObject] = json.loads(
    (Path(__file__).parent / "recorded" / "kubectl_bodies.json").read_text()
)


def without_nulls(value: Any) -> Any:
    """JSON clients send `null` where protobuf sends nothing; the server treats both alike."""
    if isinstance(value, dict):
        return {key: without_nulls(part) for key, part in value.items() if part is not None}
    if isinstance(value, list):
        return [without_nulls(part) for part in value]
    return value


def without_random_name(content: JsonObject) -> JsonObject:
    """`kubectl debug` makes a name up."""
    name = content.get("metadata", {}).get("name", "")
    return (
        {**content, "metadata": {**content["metadata"], "name": name[:-5]}} if "debugger" in name else content
    )


def comparable(entry: JsonObject) -> bool:
    """`kubectl autoscale` went from autoscaling/v1 to v2 between the two releases."""
    return not entry["command"].startswith("autoscale ")


@pytest.mark.parametrize(
    "entry", [entry for entry in RECORDED if comparable(entry)], ids=lambda entry: entry["command"]
)
def test_kubectl_1_33_in_protobuf_says_what_kubectl_1_31_says_in_json(entry: JsonObject) -> None:
    (encoded,), (plain,) = entry["protobuf"], entry["json"]
    assert encoded["type"] == "application/vnd.kubernetes.protobuf"
    assert (encoded["method"], encoded["path"]) == (plain["method"], plain["path"])
    content = decode(base64.b64decode(encoded["body"]))
    assert without_random_name(content) == without_random_name(without_nulls(plain["body"]))


def test_kubectl_autoscale_is_understood() -> None:
    (entry,) = (entry for entry in RECORDED if not comparable(entry))
    assert decode(base64.b64decode(entry["protobuf"][0]["body"])) == {
        "kind": "HorizontalPodAutoscaler",
        "apiVersion": "autoscaling/v2",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"},
            "minReplicas": 2,
            "maxReplicas": 5,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
                }
            ],
        },
        "status": {"desiredReplicas": 0},
    }


# A writer of the wire format, so that cases can be read.


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: int | str | bytes | float) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def envelope(api_version: str, kind: str, content: bytes, *more: bytes) -> bytes:
    type_meta = field(1, api_version) + field(2, kind)
    return MAGIC + field(1, type_meta) + field(2, content) + b"".join(more)


def test_options_are_known_in_every_group_version() -> None:
    preconditions = field(2, field(1, "some-uid"))
    for version in ("v1", "apps/v1", "meta.k8s.io/v1"):
        body = envelope(version, "DeleteOptions", field(1, 0) + preconditions + field(4, "Foreground"))
        assert decode(body) == {
            "kind": "DeleteOptions",
            "apiVersion": version,
            "gracePeriodSeconds": 0,  # a pointer: 0 is not the same as unset
            "preconditions": {"uid": "some-uid"},
            "propagationPolicy": "Foreground",
        }


def test_zero_values_stay_only_where_go_would_write_them() -> None:
    revision = envelope("apps/v1", "ControllerRevision", field(3, 0))
    assert decode(revision)["revision"] == 0
    meta = field(1, "") + field(7, 0) + field(8, b"")  # name, generation, creationTimestamp
    assert decode(envelope("v1", "ConfigMap", field(1, meta)))["metadata"] == {}


def test_times_are_written_as_go_writes_them() -> None:
    def lease(seconds: int, nanoseconds: int) -> JsonObject:
        moment = field(1, seconds) + field(2, nanoseconds)
        meta, spec = field(8, moment), field(4, moment)  # creationTimestamp, renewTime
        return decode(envelope("coordination.k8s.io/v1", "Lease", field(1, meta) + field(2, spec)))

    found = lease(1_700_000_000, 123_456_789)
    assert found["metadata"]["creationTimestamp"] == "2023-11-14T22:13:20Z"
    assert found["spec"]["renewTime"] == "2023-11-14T22:13:20.123456Z"
    assert lease(0, 0)["metadata"]["creationTimestamp"] == "1970-01-01T00:00:00Z"
    assert lease(-62_135_596_800, 0)["spec"]["renewTime"] == "0001-01-01T00:00:00.000000Z"
    with pytest.raises(ProtobufError, match="beyond the calendar"):
        lease(1 << 60, 0)


def test_negative_numbers_wide_and_narrow_are_signed() -> None:
    body = envelope("scheduling.k8s.io/v1", "PriorityClass", field(2, -2_000_000_000))
    assert decode(body)["value"] == -2_000_000_000
    body = envelope("v1", "DeleteOptions", field(1, -1))
    assert decode(body)["gracePeriodSeconds"] == -1


def test_raw_json_is_taken_as_json() -> None:
    body = envelope(
        "apps/v1", "ControllerRevision", field(2, field(1, '{"spec":{"a":[1,null]}}')) + field(3, 1)
    )
    assert decode(body)["data"] == {"spec": {"a": [1, None]}}
    with pytest.raises(ProtobufError, match="embedded bytes are not JSON"):
        decode(envelope("apps/v1", "ControllerRevision", field(2, field(1, "{"))))


def test_schemas_of_crds_keep_their_choices() -> None:
    text = field(5, "string")
    schema = (
        field(5, "object")
        + field(29, field(1, "list") + field(2, field(5, "array") + field(24, field(1, text))))
        + field(29, field(1, "map") + field(2, field(30, field(1, 1) + field(2, text))))
        + field(29, field(1, "open") + field(2, field(30, field(1, 1)) + field(8, field(1, "5"))))
        + field(29, field(1, "number") + field(2, field(9, 1.5) + field(20, field(1, "1")) + field(40, 1)))
        + field(29, field(1, "any") + field(2, field(38, 0)))
    )
    version = field(1, "v1") + field(4, field(1, schema))
    crd = envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", field(2, field(7, version)))
    found = decode(crd)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert found["properties"] == {
        "list": {"type": "array", "items": {"type": "string"}},
        "map": {"additionalProperties": {"type": "string"}},
        "open": {"additionalProperties": True, "default": 5},
        "number": {"maximum": 1.5, "enum": [1], "x-kubernetes-int-or-string": True},
        "any": {"x-kubernetes-preserve-unknown-fields": False},
    }


def test_fields_of_newer_clients_are_skipped() -> None:
    body = envelope(
        "v1", "ConfigMap", field(99, 1) + field(98, "x") + field(97, 1.0) + field(2, field(1, "k"))
    )
    assert decode(body)["data"] == {"k": ""}


def test_durations_are_written_as_go_writes_them() -> None:
    def window(nanoseconds: int) -> str:
        content = field(3, field(1, nanoseconds))
        text: str = decode(envelope("metrics.k8s.io/v1beta1", "PodMetrics", content))["window"]
        return text

    assert [
        window(n) for n in (0, 5, 1_500, 2_000_000, 1_500_000_000, 60_000_000_000, 5_400_000_000_000)
    ] == [*("0s", "5ns", "1.5µs", "2ms", "1.5s", "1m0s", "1h30m0s")]
    assert window(-30_000_000_000) == "-30s"


@pytest.mark.parametrize(
    ("body", "why", "offset"),
    [
        (b"", "does not begin with the four bytes", 0),
        (b'{"kind":"Pod"}', "does not begin with the four bytes", 0),
        (MAGIC, "no kind '' is registered for version ''", 4),
        (envelope("v1", "Potato", b""), "no kind 'Potato' is registered for version 'v1'", 4),
        (envelope("example.org/v1", "Widget", b""), "no kind 'Widget'", 4),
        (MAGIC + b"\x0a\x05ab", "field 1 says 5 bytes where 2 are left", 4),
        (MAGIC + b"\xff" * 12, "a number does not end", 4),
        (MAGIC + b"\x0b", "wire type 3 of field 1", 4),
        (MAGIC + b"\x02\x00", "field number 0", 4),
        (envelope("v1", "Pod", b"\x0a\x03\x0a\x01\xff"), "a string is not UTF-8", None),
        (envelope("v1", "Pod", b"\x08\x01"), "wire type 0 where 2 is due", None),
        (envelope("v1", "DeleteOptions", field(1, "x")), "a number has wire type 2 where 0 is due", None),
        (envelope("v1", "Pod", b"", field(4, "application/json")), "not plain protobuf", None),
    ],
)
def test_nonsense_is_refused_with_its_place(body: bytes, why: str, offset: int | None) -> None:
    with pytest.raises(ProtobufError, match=why) as caught:
        decode(body)
    assert isinstance(caught.value, ValueError)
    assert offset is None or caught.value.offset == offset
    assert 0 <= caught.value.offset <= len(body)


def test_endless_nesting_is_refused() -> None:
    schema = b""
    for _ in range(150):
        schema = field(28, schema)
    version = field(4, field(1, schema))
    body = envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", field(2, field(7, version)))
    with pytest.raises(ProtobufError, match="nested more than 100 deep"):
        decode(body)


KINDS = [
    ("v1", "Pod"),
    ("v1", "List"),
    ("apps/v1", "Deployment"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("coordination.k8s.io/v1", "Lease"),
    ("authorization.k8s.io/v1", "SubjectAccessReview"),
    ("meta.k8s.io/v1", "DeleteOptions"),
]
messages = st.recursive(
    st.binary(max_size=20),
    lambda inner: st.lists(
        st.builds(
            field,
            st.integers(1, 45),
            st.one_of(st.integers(-(1 << 63), (1 << 64) - 1), st.floats(), st.text(max_size=5), inner),
        ),
        max_size=6,
    ).map(b"".join),
    max_leaves=20,
)


@given(kind=st.sampled_from(KINDS), content=messages)
def test_any_bytes_give_an_object_or_that_one_error(kind: tuple[str, str], content: bytes) -> None:
    try:
        found = decode(envelope(*kind, content))
    except ProtobufError:
        return
    json.dumps(found, allow_nan=False)
    assert (found["apiVersion"], found["kind"]) == kind


@given(entry=st.sampled_from(RECORDED), data=st.data())
def test_a_damaged_body_gives_an_object_or_that_one_error(entry: JsonObject, data: st.DataObject) -> None:
    body = bytearray(base64.b64decode(entry["protobuf"][0]["body"]))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    del body[data.draw(st.integers(1, len(body))) :]
    found, offset = result_of(bytes(body))
    json.dumps(found, allow_nan=False)
    assert 0 <= offset <= len(body)


def result_of(body: bytes) -> tuple[JsonObject, int]:
    """The object, or the place of the error."""
    try:
        return decode(body), 0
    except ProtobufError as error:
        return {}, error.offset


def test_json_bodies_are_told_apart() -> None:
    assert is_protobuf(base64.b64decode(RECORDED[0]["protobuf"][0]["body"]))
    assert not is_protobuf(b"{}")
