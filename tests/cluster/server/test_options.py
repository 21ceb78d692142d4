"""Options in queries and in bodies are read as a real 1.37 server reads them, which showed each of these."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.cluster.registry.call import Options
from slipway.cluster.server.api_options import (
    check_timeout,
    check_write_options,
    flag,
    merge_delete_options,
    parse_options,
)
from slipway.cluster.server.pod_streams import log_options, stream_options
from slipway.cluster.status import StatusError


def test_a_body_of_delete_options_takes_the_place_of_the_query() -> None:
    options = parse_options("dryRun=All&gracePeriodSeconds=5&propagationPolicy=Orphan", "delete")
    assert (options.dry_run, options.grace_period_seconds) == (True, 5)
    merge_delete_options(options, {"preconditions": {"uid": "u"}}, "delete")
    assert (options.dry_run, options.grace_period_seconds, options.propagation_policy) == (False, None, "")
    assert options.precondition_uid == "u"
    merge_delete_options(options, {"dryRun": ["All"], "orphanDependents": False}, "delete")
    assert (options.dry_run, options.orphan_dependents, options.precondition_uid) == (True, False, "")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            {"gracePeriodSeconds": 10**30},
            f"number {10**30} into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        ),
        (
            {"gracePeriodSeconds": 1.5},
            "number 1.5 into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        ),
        (
            {"preconditions": {"uid": 5}},
            "number into Go struct field Preconditions.preconditions.uid of type types.UID",
        ),
        ({"dryRun": [5]}, "number into Go struct field DeleteOptions.dryRun of type string"),
    ],
)
def test_delete_options_of_the_wrong_type_are_a_bad_request(body: dict[str, Any], why: str) -> None:
    with pytest.raises(StatusError) as refused:
        merge_delete_options(Options(), body, "delete")
    assert (refused.value.code, refused.value.message) == (400, f"json: cannot unmarshal {why}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "invalid syntax"),
        ("1_0", "invalid syntax"),
        (" 5", "invalid syntax"),
        ("٣", "invalid syntax"),
        ("9" * 20, "value out of range"),
    ],
)
def test_a_log_is_not_cut_by_what_is_no_number(text: str, why: str) -> None:
    with pytest.raises(StatusError) as refused:
        log_options(f"tailLines={text}", "p", 0.0)
    assert (refused.value.code, refused.value.message) == (400, f'strconv.ParseInt: parsing "{text}": {why}')


def test_an_option_without_a_value_is_asked_for() -> None:
    _, options = log_options("follow&timestamps=&previous=false", "p", 0.0)
    assert (options.follow, options.timestamps, options.previous) == (True, True, False)
    assert stream_options("PodExecOptions", "stdin&tty=0&container=&command=a&command=") == {
        "kind": "PodExecOptions",
        "apiVersion": "v1",
        "stdin": True,
        "command": ["a", ""],
    }
    assert not flag({"watch": ["False"]}, "watch")


def test_the_length_of_a_field_manager_is_counted_in_bytes() -> None:
    check_write_options(Options(field_manager="é" * 64), "update", apply=False)
    with pytest.raises(StatusError, match="may not be more than 128 bytes"):
        check_write_options(Options(field_manager="é" * 65), "update", apply=False)


@pytest.mark.parametrize("text", ["", "0", "0s", "32s", "1h30m", "-1.5s", "1µs", ".5ms", "3m"])
def test_a_timeout_is_a_duration(text: str) -> None:
    check_timeout(f"timeout={text}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("invalid", 'invalid duration "invalid"'),
        ("-", 'invalid duration "-"'),
        ("5", 'missing unit in duration "5"'),
        ("1m5", 'missing unit in duration "1m5"'),
        ("5x", 'unknown unit "x" in duration "5x"'),
        ("1s5days3", 'unknown unit "days" in duration "1s5days3"'),
        ("1.2.3s", 'missing unit in duration "1.2.3s"'),
    ],
)
def test_what_is_no_duration_is_no_timeout(text: str, why: str) -> None:
    with pytest.raises(StatusError) as refused:
        check_timeout(f"timeout={text}")
    said = f"invalid timeout specified in the request URL - time: {why}"
    assert (refused.value.code, refused.value.message) == (400, said)
