"""Validation of what the recorded corpus does not reach: metadata on updates, schedules, immutability, large values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.registry.validation import validate
from slipway.cluster.registry.validation.selectors import is_valid, matches
from slipway.cluster.schema.decoding import decode
from slipway.cluster.schema.defaults import apply_builtin_defaults


def errors(
    kind: str,
    resource: str,
    obj: dict[str, Any],
    old: dict[str, Any] | None = None,
    group: str = "",
    version: str = "v1",
) -> list[str]:
    def complete(one: dict[str, Any]) -> dict[str, Any]:
        full = decode({**one, "metadata": {"namespace": "n", **one["metadata"]}}, group, version, kind).obj
        apply_builtin_defaults(full, group, version, kind)
        return full

    found = validate(group, kind, resource, complete(obj), complete(old) if old else None, namespaced=True)
    return [str(error) for error in found]


def config_map(data: Any = None, immutable: bool | None = None, **metadata: Any) -> dict[str, Any]:
    obj: dict[str, Any] = {"metadata": {"name": "a", **metadata}}
    if data is not None:
        obj["data"] = data
    if immutable is not None:
        obj["immutable"] = immutable
    return obj


def test_finalizers_can_only_go_once_an_object_is_being_deleted() -> None:
    old = config_map(resourceVersion="1", deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["a/b"])
    new = config_map(resourceVersion="1", deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["a/b", "c/d"])
    assert errors("ConfigMap", "configmaps", new, old) == [
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
        'found new finalizers []string{"c/d"}'
    ]
    assert errors("ConfigMap", "configmaps", old, new) == []


def test_names_and_uids_never_change() -> None:
    found = errors(
        "ConfigMap",
        "configmaps",
        config_map(resourceVersion="1", uid="x"),
        config_map(resourceVersion="1", uid="u"),
    )
    assert found == ['metadata.uid: Invalid value: "x": field is immutable']


def test_annotations_are_limited_together_and_labels_in_form() -> None:
    big = config_map(annotations={"a": "x" * 200_000, "b": "x" * 100_000}, labels={"a/b/c": "d"})
    assert errors("ConfigMap", "configmaps", big) == [
        "metadata.labels: Invalid value: \"a/b/c\": a valid label key must consist of alphanumeric characters, '-', '_' or "
        "'.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex "
        "used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and "
        "'/' (e.g. 'example.com/MyName')",
        "metadata.annotations: Too long: may not be more than 262144 bytes",
    ]


def test_only_one_owner_controls() -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "controller": True}
    two = [{**owner, "name": "a", "uid": "1"}, {**owner, "name": "b", "uid": "2"}]
    (found,) = errors("ConfigMap", "configmaps", config_map(ownerReferences=two))
    assert found.endswith(
        'Only one reference can have Controller set to true. Found "true" in references for a and b'
    )


def test_an_immutable_config_map_stays_as_it_is() -> None:
    old = config_map({"a": "1"}, True, resourceVersion="1")
    assert errors("ConfigMap", "configmaps", config_map({"a": "2"}, False, resourceVersion="1"), old) == [
        "immutable: Forbidden: field is immutable when `immutable` is set",
        "data: Forbidden: field is immutable when `immutable` is set",
    ]


def test_a_config_map_of_more_than_a_megabyte_is_too_long() -> None:
    (found,) = errors("ConfigMap", "configmaps", config_map({"a": "x" * 1_100_000}))
    assert "Too long: may not be more than 1048576 bytes" in found


@pytest.mark.parametrize(
    ("schedule", "wrong"),
    [
        ("*/5 0-3 1,15 jan-mar mon", None),
        ("@daily", None),
        ("@every 1h", None),
        ("@sometimes", "unrecognized descriptor: @sometimes"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
    ],
)
def test_schedules_are_checked_as_the_cron_library_does(schedule: str, wrong: str | None) -> None:
    pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    job = {
        "metadata": {"name": "a"},
        "spec": {"schedule": schedule, "jobTemplate": {"spec": {"template": pod}}},
    }
    found = errors("CronJob", "cronjobs.batch", job, group="batch")
    assert found == ([] if wrong is None else [f'spec.schedule: Invalid value: "{schedule}": {wrong}'])


def test_a_stateful_set_may_mount_the_claims_that_it_makes() -> None:
    container = {"name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    stateful = {
        "metadata": {"name": "a"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}},
            "volumeClaimTemplates": [claim],
        },
    }
    assert errors("StatefulSet", "statefulsets.apps", stateful, group="apps") == []
    del stateful["spec"]["volumeClaimTemplates"]
    assert errors("StatefulSet", "statefulsets.apps", stateful, group="apps") == [
        'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data"'
    ]


labels = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["1", "2"]), max_size=2)
selectors = st.fixed_dictionaries(
    {},
    optional={
        "matchLabels": labels,
        "matchExpressions": st.lists(
            st.fixed_dictionaries(
                {
                    "key": st.sampled_from(["a", "b"]),
                    "operator": st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
                    "values": st.lists(st.sampled_from(["1", "2"]), max_size=2),
                }
            ),
            max_size=2,
        ),
    },
)


@given(selectors, labels)
def test_a_selector_of_exact_labels_takes_them_and_adding_a_demand_never_takes_more(
    selector: Any, given_labels: Any
) -> None:
    assert matches({"matchLabels": given_labels}, given_labels)
    if is_valid(selector):
        narrower = {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), "z": "1"}}
        assert not matches(narrower, given_labels)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("fe80::42:1dff:fe84:f9e2", None),
        ("255.255.255.255", None),
        ("an-address", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        ("10.0.0.08", "must not have leading 0s"),
        ("FE80:0::1", 'must be in canonical form ("fe80::1")'),
        ("::ffff:10.0.0.1", "must not be an IPv4-mapped IPv6 address"),
    ],
)
def test_an_address_is_named_by_itself_in_its_one_spelling(name: str, wrong: str | None) -> None:
    address = {"metadata": {"name": name}, "spec": {"parentRef": {"resource": "services", "name": "a"}}}
    complete = decode(address, "networking.k8s.io", "v1", "IPAddress").obj
    found = validate(
        "networking.k8s.io",
        "IPAddress",
        "ipaddresses.networking.k8s.io",
        complete,
        None,
        namespaced=False,
    )
    assert [str(error) for error in found] == (
        [f'metadata.name: Invalid value: "{name}": {wrong}'] if wrong else []
    )
