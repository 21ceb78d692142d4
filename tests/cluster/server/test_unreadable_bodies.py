"""Bodies that are no object are refused in the words of a real 1.37 server, which showed each of these."""

from __future__ import annotations

import pytest

from slipway.cluster.exchange import Request
from slipway.cluster.schema.protobuf import MEDIA_TYPE
from slipway.cluster.server.api_bodies import object_body
from slipway.cluster.status import StatusError

UNRECOGNIZED = "the object provided is unrecognized (must be of type ConfigMap): "
VERSION = "couldn't get version/kind; json parse error: "
STRUCT = 'Go value of type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[1]", f"json: cannot unmarshal array into {STRUCT} (5b315d)"),
        (b'"x"', f"json: cannot unmarshal string into {STRUCT} (227822)"),
        (b"{", "unexpected end of JSON input ({)"),
        (b"", "unexpected end of JSON input (<empty>)"),
        (
            b'{"kind":1}',
            'json: cannot unmarshal number into Go struct field .kind of type string ({"kind":1})',
        ),
        (
            b"kind: Pod\n" + 46 * b"x",
            "invalid character 'k' looking for beginning of value (6b696e643a20506f640a"
            + 20 * "78"
            + " ...)",
        ),
    ],
)
def test_json_that_is_no_object_is_shown_and_explained(body: bytes, why: str) -> None:
    with pytest.raises(StatusError) as caught:
        object_body(Request("POST", "/", "", {"content-type": "application/json"}, body), "ConfigMap")
    assert caught.value.code == 400
    assert caught.value.message == UNRECOGNIZED + VERSION + why


@pytest.mark.parametrize(("media", "body"), [(MEDIA_TYPE, b"garbage"), ("application/yaml", b"a: [")])
def test_other_forms_say_what_was_expected_too(media: str, body: bytes) -> None:
    with pytest.raises(StatusError) as caught:
        object_body(Request("POST", "/", "", {"content-type": media}, body), "ConfigMap")
    assert caught.value.message.startswith(UNRECOGNIZED)
    assert caught.value.message.endswith(f"({body.hex()})")


def test_null_is_an_object_that_says_nothing() -> None:
    assert object_body(Request("POST", "/", body=b"null"), "ConfigMap") == {}
