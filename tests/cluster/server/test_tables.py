"""Tables, bare metadata, YAML and indented JSON: what a real 1.37 server was recorded to answer, and the cells
that need containers and time."""

from __future__ import annotations

import contextlib
import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.schema.builtin import load_catalogue
from slipway.cluster.schema.resource import Resource
from slipway.cluster.server.negotiation import negotiate
from slipway.cluster.server.partial_metadata import partial
from slipway.cluster.server.printers.columns import columns_of
from slipway.cluster.server.printers.durations import human_duration
from slipway.cluster.server.printers.subject import CELLS
from slipway.cluster.server.tables import TableMaker, included
from slipway.cluster.status import StatusError

Object = dict[str, Any]
RECORDINGS = Path(__file__).parents[2] / "conformance" / "recordings" / "1.37"
NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def _recorded_tables() -> list[tuple[str, Object]]:
    """Of built-in kinds: a custom kind's columns are in its definition, and the recorded answers show them."""
    builtin = {"", *(resource.group for resource in load_catalogue("1.37").resources.values())}
    found = []
    for path in sorted(RECORDINGS.glob("*.json")):
        for scenario in json.loads(path.read_text()):
            for number, step in enumerate(scenario["steps"]):
                body = step["answer"].get("body")
                group = step["path"].split("/")[2] if step["path"].startswith("/apis/") else ""
                if isinstance(body, dict) and body.get("kind") == "Table" and group in builtin:
                    found.append((f"{scenario['name']}-{number}-{step['path'].split('/')[-1]}", body))
    return found


def _resource(kind: str, group: str = "", version: str = "v1") -> Resource:
    found = load_catalogue("1.37").by_kind(group, version, kind)
    assert found is not None
    return found


def _cells(kind: str, obj: Object, group: str = "", version: str = "v1") -> dict[str, Any]:
    maker = TableMaker(_resource(kind, group, version), None, "v1", "None")
    table = maker.table([obj], {}, NOW)
    names = [column["name"] for column in table["columnDefinitions"]]
    return dict(zip(names, table["rows"][0]["cells"], strict=True))


@pytest.mark.parametrize(("name", "recorded"), _recorded_tables(), ids=lambda value: str(value)[:60])
def test_columns_are_those_of_a_real_server_word_for_word(name: str, recorded: Object) -> None:
    kinds = {
        tuple(column["name"] for column in TableMaker(resource, None, "v1", "None").definitions()): resource
        for resource in load_catalogue("1.37").resources.values()
    }
    resource = kinds[tuple(column["name"] for column in recorded["columnDefinitions"])]
    ours = TableMaker(resource, None, "v1", "None").definitions()
    if resource.kind in {"RoleBinding", "ClusterRoleBinding"}:  # the same names, other descriptions
        ours = TableMaker(
            _resource("RoleBinding", "rbac.authorization.k8s.io"), None, "v1", "None"
        ).definitions()
    assert ours == recorded["columnDefinitions"]


def test_every_kind_of_the_catalogue_makes_a_row_of_an_object_with_nothing_in_it() -> None:
    for resource in load_catalogue("1.37").resources.values():
        table = TableMaker(resource, None, "v1", "Metadata").table([{"metadata": {"name": "n"}}], {}, NOW)
        assert len(table["rows"][0]["cells"]) == len(table["columnDefinitions"]), resource.kind
        json.dumps(table)


def test_every_function_that_makes_cells_is_used_by_some_column() -> None:
    text = json.dumps(
        json.loads(
            (Path(__file__).parents[3] / "src/slipway/cluster/server/printers/columns.json").read_text()
        )
    )
    assert {name for name in CELLS if f'"function": "{name}"' not in text} == set()


POD: Object = {
    "metadata": {"name": "p", "creationTimestamp": "2027-01-15T07:00:00Z"},
    "spec": {"containers": [{"name": "a"}, {"name": "b"}], "nodeName": "n1"},
    "status": {
        "phase": "Running",
        "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}],
        "containerStatuses": [
            {"name": "a", "ready": True, "restartCount": 0, "state": {"running": {}}},
            {
                "name": "b",
                "ready": True,
                "restartCount": 2,
                "state": {"running": {}},
                "lastState": {"terminated": {"finishedAt": "2027-01-15T07:55:00Z", "exitCode": 1}},
            },
        ],
    },
}


def _pod(**status: Any) -> Object:
    pod = copy.deepcopy(POD)
    pod["status"].update(status)
    return pod


def test_a_running_pod_counts_its_containers_and_says_when_one_last_restarted() -> None:
    cells = _cells("Pod", POD)
    assert cells == {
        "Name": "p",
        "Ready": "2/2",
        "Status": "Running",
        "Restarts": "2 (5m ago)",
        "Age": "60m",
        "IP": "10.0.0.1",
        "Node": "n1",
        "Nominated Node": "<none>",
        "Readiness Gates": "<none>",
    }


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([{"waiting": {"reason": "CrashLoopBackOff"}}, {"running": {}}], "CrashLoopBackOff"),
        ([{"terminated": {"reason": "Completed", "exitCode": 0}}, {"running": {}}], "Running"),
        ([{"terminated": {"reason": "Error", "exitCode": 1}}, {"running": {}}], "Error"),
        ([{"terminated": {"exitCode": 137, "signal": 9}}, {"running": {}}], "Signal:9"),
        ([{"terminated": {"exitCode": 3}}, {"running": {}}], "ExitCode:3"),
        (
            [
                {"terminated": {"reason": "Completed", "exitCode": 0}},
                {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
            ],
            "OOMKilled",
        ),
    ],
)
def test_a_pods_status_is_that_of_the_container_that_matters(states: list[Object], expected: str) -> None:
    statuses = [
        {"name": str(index), "ready": "running" in state, "restartCount": 0, "state": state}
        for index, state in enumerate(states)
    ]
    assert _cells("Pod", _pod(containerStatuses=statuses))["Status"] == expected


def test_a_pod_that_initialises_says_how_far_it_has_come() -> None:
    pod = _pod(
        phase="Pending",
        conditions=[{"type": "Initialized", "status": "False"}],
        containerStatuses=[],
        initContainerStatuses=[
            {"name": "i1", "restartCount": 0, "state": {"terminated": {"exitCode": 0}}},
            {"name": "i2", "restartCount": 3, "state": {"running": {}}},
        ],
    )
    pod["spec"]["initContainers"] = [{"name": "i1"}, {"name": "i2"}, {"name": "i3"}]
    cells = _cells("Pod", pod)
    assert (cells["Status"], cells["Restarts"], cells["Ready"]) == ("Init:1/3", "3", "0/2")
    pod["status"]["initContainerStatuses"][1]["state"] = {"terminated": {"exitCode": 1, "reason": "Error"}}
    assert _cells("Pod", pod)["Status"] == "Init:Error"


def test_a_sidecar_counts_among_the_ready_containers() -> None:
    pod = _pod(
        initContainerStatuses=[
            {"name": "s", "restartCount": 1, "ready": True, "started": True, "state": {"running": {}}}
        ]
    )
    pod["spec"]["initContainers"] = [{"name": "s", "restartPolicy": "Always"}]
    cells = _cells("Pod", pod)
    assert cells["Ready"] == "3/3"
    assert cells["Restarts"].startswith("3 ")


def test_a_pod_being_deleted_is_terminating_unless_it_has_ended() -> None:
    pod = _pod()
    pod["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z"
    assert _cells("Pod", pod)["Status"] == "Terminating"
    pod["status"]["phase"] = "Succeeded"
    assert _cells("Pod", pod)["Status"] != "Terminating"


def test_an_ended_pods_row_says_completed() -> None:
    maker = TableMaker(_resource("Pod"), None, "v1", "None")
    row = maker.table([_pod(phase="Failed")], {}, NOW)["rows"][0]
    assert row["conditions"] == [
        {"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}
    ]


def test_services_show_addresses_and_ports_by_their_type() -> None:
    service: Object = {
        "metadata": {"name": "s"},
        "spec": {
            "type": "LoadBalancer",
            "clusterIPs": ["10.96.0.9"],
            "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
            "selector": {"b": "2", "a": "1"},
        },
    }
    cells = _cells("Service", service)
    assert (cells["External-IP"], cells["Port(s)"], cells["Selector"]) == (
        "<pending>",
        "80:30080/TCP,53/UDP",
        "a=1,b=2",
    )
    service["status"] = {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}, {"hostname": "x.example"}]}}
    assert _cells("Service", service)["External-IP"] == "1.2.3.4,x.example"
    service["spec"]["type"] = "ClusterIP"
    assert _cells("Service", service)["External-IP"] == "<none>"


def test_jobs_show_status_completions_and_duration() -> None:
    job: Object = {
        "metadata": {"name": "j"},
        "spec": {
            "parallelism": 3,
            "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}},
            "selector": {"matchExpressions": [{"key": "k", "operator": "In", "values": ["b", "a"]}]},
        },
        "status": {"succeeded": 1, "startTime": "2027-01-15T07:58:30Z"},
    }
    cells = _cells("Job", job, "batch")
    assert (cells["Status"], cells["Completions"], cells["Duration"]) == ("Running", "1/1 of 3", "90s")
    assert (cells["Images"], cells["Selector"]) == ("i", "k in (a,b)")
    job["spec"]["completions"] = 5
    job["status"] |= {
        "completionTime": "2027-01-15T07:59:00Z",
        "conditions": [{"type": "Complete", "status": "True"}],
    }
    cells = _cells("Job", job, "batch")
    assert (cells["Status"], cells["Completions"], cells["Duration"]) == ("Complete", "1/5", "30s")


def test_events_of_both_groups_show_the_same() -> None:
    core = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"},
        "type": "Normal",
        "reason": "Started",
        "message": "Started\n",
        "source": {"component": "kubelet", "host": "n1"},
        "firstTimestamp": "2027-01-15T07:59:00Z",
        "lastTimestamp": "2027-01-15T07:59:30Z",
        "count": 4,
    }
    new = {
        "metadata": {"name": "e"},
        "regarding": core["involvedObject"],
        "type": "Normal",
        "reason": "Started",
        "note": "Started\n",
        "deprecatedSource": core["source"],
        "deprecatedFirstTimestamp": core["firstTimestamp"],
        "deprecatedLastTimestamp": core["lastTimestamp"],
        "deprecatedCount": 4,
    }
    expected = {
        "Last Seen": "30s",
        "Type": "Normal",
        "Reason": "Started",
        "Object": "pod/p",
        "Subobject": "spec.containers{c}",
        "Source": "kubelet, n1",
        "Message": "Started",
        "First Seen": "60s",
        "Count": 4,
        "Name": "e",
    }
    assert _cells("Event", core) == expected
    assert _cells("Event", new, "events.k8s.io") == expected


def test_the_newest_default_storage_class_is_marked_in_a_list() -> None:
    def storage_class(name: str, created: str, default: bool) -> Object:
        annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
        return {
            "metadata": {"name": name, "creationTimestamp": created, "annotations": annotations},
            "provisioner": "x",
        }

    maker = TableMaker(_resource("StorageClass", "storage.k8s.io"), None, "v1", "None")
    rows = maker.table(
        [
            storage_class("a", "2027-01-01T00:00:00Z", True),
            storage_class("b", "2027-01-02T00:00:00Z", True),
            storage_class("c", "2027-01-03T00:00:00Z", False),
        ],
        {},
        NOW,
    )["rows"]
    assert [row["cells"][0] for row in rows] == ["a", "b (default)", "c"]


def test_an_autoscaler_of_either_version_shows_its_targets() -> None:
    old = {
        "metadata": {"name": "h"},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "d"},
            "maxReplicas": 3,
            "targetCPUUtilizationPercentage": 80,
        },
    }
    assert _cells("HorizontalPodAutoscaler", old, "autoscaling")["Targets"] == "cpu: <unknown>/80%"
    new = {
        "metadata": {"name": "h"},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "d"},
            "maxReplicas": 3,
            "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}},
                {"type": "Pods", "pods": {"target": {"averageValue": "1000m"}}},
                {"type": "External", "external": {"target": {"value": "5"}}},
            ],
        },
        "status": {"currentMetrics": [{"resource": {"current": {"averageUtilization": 10}}}]},
    }
    assert (
        _cells("HorizontalPodAutoscaler", new, "autoscaling", "v2")["Targets"]
        == "cpu: 10%/80%, <unknown>/1 + 1 more..."
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (11_000, "3h3m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (50 * 3600, "2d2h"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (731 * 86400, "2y1d"),
        (8 * 365 * 86400, "8y"),
    ],
)
def test_durations_read_as_kubernetes_writes_them(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


@given(st.floats(min_value=0, max_value=1e10))
def test_a_duration_names_at_most_two_units(seconds: float) -> None:
    assert re.fullmatch(r"\d+[smhdy](\d+[smhd])?", human_duration(seconds))


def test_rows_carry_what_include_object_says() -> None:
    obj = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"x": "1"}}
    for query, expected in (
        ("", partial(obj, "v1")),
        ("includeObject=Metadata", partial(obj, "v1")),
        ("includeObject=Object", obj),
        ("includeObject=None", None),
    ):
        maker = TableMaker(_resource("ConfigMap"), None, "v1", included(query))
        assert maker.table([obj], {}, NOW)["rows"][0]["object"] == expected
    with pytest.raises(StatusError) as caught:
        included("includeObject=Bogus")
    assert caught.value.code == 400


def test_in_a_watch_only_the_first_table_names_the_columns() -> None:
    maker = TableMaker(_resource("ConfigMap"), None, "v1", "None")
    obj = {"metadata": {"name": "a", "resourceVersion": "7"}}
    assert maker.single(obj, NOW)["columnDefinitions"] is not None
    later = maker.single(obj, NOW, headers=False)
    assert later["columnDefinitions"] is None
    assert later["metadata"] == {"resourceVersion": "7"}


def test_a_custom_kinds_columns_come_from_its_definition() -> None:
    resource = Resource("e.com", "v1", "subs", "sub", "Sub", True, (), custom=True)
    columns = [{"name": "X", "type": "string", "jsonPath": ".spec.x"}]
    table = TableMaker(resource, columns, "v1", "None").table(
        [{"metadata": {"name": "a"}, "spec": {"x": 3}}], {}, NOW
    )
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "X"]
    assert table["rows"][0]["cells"] == ["a", "3"]


def test_kinds_without_columns_of_their_own_show_name_and_creation() -> None:
    names = [column.definition["name"] for column in columns_of("rbac.authorization.k8s.io", "Role")]
    assert names == ["Name", "Created At"]


KUBECTL_ACCEPT = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"


@pytest.mark.parametrize(
    ("accept", "form", "version", "yaml"),
    [
        ("", "object", "v1", False),
        (KUBECTL_ACCEPT, "table", "v1", False),
        ("application/vnd.kubernetes.protobuf,application/json", "object", "v1", False),
        ("application/vnd.kubernetes.protobuf, */*", "object", "v1", False),
        ("application/yaml", "object", "v1", True),
        ("application/json;q=0.1, application/yaml;q=0.9", "object", "v1", True),
        (
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1beta1",
            "partial-list",
            "v1beta1",
            False,
        ),
        ("application/json;as=Bogus;v=v1;g=meta.k8s.io,application/json", "object", "v1", False),
    ],
)
def test_the_first_form_that_both_sides_know_is_taken(
    accept: str, form: str, version: str, yaml: bool
) -> None:
    found = negotiate(accept, verb="list")
    assert (found.form, found.version, found.yaml) == (form, version, yaml)


@pytest.mark.parametrize(
    ("accept", "custom", "message", "details"),
    [
        (
            "text/html",
            False,
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml,"
            " application/vnd.kubernetes.protobuf, application/json;stream=watch,"
            " application/vnd.kubernetes.protobuf;stream=watch",
            {},
        ),
        (
            "application/json;as=Bogus;v=v1;g=meta.k8s.io",
            False,
            "only the following media types are accepted: application/json, application/yaml,"
            " application/vnd.kubernetes.protobuf",
            None,
        ),
        (
            "text/html",
            True,
            "only the following media types are accepted: application/json, application/yaml,"
            " application/vnd.kubernetes.protobuf",
            None,
        ),
        (
            "application/vnd.kubernetes.protobuf",
            False,
            "only the following media types are accepted: application/json, application/yaml",
            None,
        ),
    ],
)
def test_what_cannot_be_read_is_refused_in_the_words_of_a_real_server(
    accept: str, custom: bool, message: str, details: Object | None
) -> None:
    with pytest.raises(StatusError) as caught:
        negotiate(accept, custom=custom, verb="list")
    assert (caught.value.code, caught.value.message, caught.value.details) == (406, message, details)


def test_people_get_indented_json_unless_they_say_no() -> None:
    assert negotiate("*/*", "", "curl/8.0").pretty
    assert not negotiate("*/*", "pretty=false", "curl/8.0").pretty
    assert negotiate("application/json", "pretty=true", "kubectl/v1.37").pretty
    assert not negotiate("application/json", "", "kubectl/v1.37").pretty


@given(st.text(max_size=40))
def test_any_accept_header_is_understood_or_refused(accept: str) -> None:
    with contextlib.suppress(StatusError):
        assert negotiate(accept).form in {"object", "table", "partial", "partial-list"}
