"""The built-in kinds are those of the release: served, named and shaped as Kubernetes publishes them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from slipway.cluster.schema import builtin
from slipway.cluster.schema.builtin import (
    UnknownKind,
    UnknownMinor,
    definitions,
    load_catalogue,
    minors,
    prose,
    shape_of,
)
from slipway.cluster.schema.builtin_selectors import field_selectors
from slipway.cluster.schema.shape import UNSET, Shape


def test_deployments_are_served_with_their_names_verbs_and_subresources() -> None:
    deployments = load_catalogue().find("apps", "v1", "deployments")
    assert deployments is not None
    assert (deployments.kind, deployments.singular) == ("Deployment", "deployment")
    assert deployments.short_names == ("deploy",)
    assert deployments.categories == ("all",)
    assert deployments.namespaced
    assert deployments.stored
    assert set(deployments.verbs) == {
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    }
    scale = deployments.subresource("scale")
    assert scale is not None
    assert (scale.group, scale.version, scale.kind) == ("autoscaling", "v1", "Scale")
    assert scale.verbs == ("get", "patch", "update")
    status = deployments.subresource("status")
    assert status is not None
    assert (status.group, status.version, status.kind) == ("apps", "v1", "Deployment")


def test_pods_have_every_subresource_that_kubectl_uses() -> None:
    pods = load_catalogue().find("", "v1", "pods")
    assert pods is not None
    assert {sub.name for sub in pods.subresources} == {
        "attach",
        "binding",
        "ephemeralcontainers",
        "eviction",
        "exec",
        "log",
        "portforward",
        "proxy",
        "resize",
        "status",
    }
    eviction = pods.subresource("eviction")
    assert eviction is not None
    assert (eviction.group, eviction.version, eviction.kind) == ("policy", "v1", "Eviction")
    accounts = load_catalogue().find("", "v1", "serviceaccounts")
    assert accounts is not None
    token = accounts.subresource("token")
    assert token is not None
    assert (token.group, token.version, token.kind) == ("authentication.k8s.io", "v1", "TokenRequest")


@pytest.mark.parametrize(
    ("group", "version", "plural", "subresource"),
    [
        ("", "v1", "namespaces", "finalize"),
        ("", "v1", "services", "proxy"),
        ("", "v1", "replicationcontrollers", "scale"),
        ("apps", "v1", "statefulsets", "scale"),
        ("certificates.k8s.io", "v1", "certificatesigningrequests", "approval"),
        ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "status"),
        ("apiregistration.k8s.io", "v1", "apiservices", "status"),
        ("policy", "v1", "poddisruptionbudgets", "status"),
    ],
)
def test_special_subresources_are_served(group: str, version: str, plural: str, subresource: str) -> None:
    resource = load_catalogue().find(group, version, plural)
    assert resource is not None
    assert resource.subresource(subresource) is not None


def test_every_group_of_the_release_is_served_preferred_version_first() -> None:
    order = load_catalogue().version_order
    assert next(iter(order)) == ""
    assert order["autoscaling"] == ["v2", "v1"]
    assert {
        *("", "apps", "batch", "policy", "events.k8s.io", "rbac.authorization.k8s.io"),
        *("networking.k8s.io", "storage.k8s.io", "coordination.k8s.io", "discovery.k8s.io"),
        *("scheduling.k8s.io", "node.k8s.io", "resource.k8s.io", "flowcontrol.apiserver.k8s.io"),
        *("admissionregistration.k8s.io", "apiextensions.k8s.io", "certificates.k8s.io"),
        *("apiregistration.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling"),
    } <= set(order)


def test_versions_that_the_release_leaves_off_are_served_on_demand() -> None:
    assert load_catalogue().find("resource.k8s.io", "v1beta1", "resourceclaims") is None
    wider = load_catalogue(also={"resource.k8s.io/v1beta1"})
    assert wider.find("resource.k8s.io", "v1beta1", "resourceclaims") is not None
    assert wider.version_order["resource.k8s.io"] == ["v1", "v1beta1"]


def test_reviews_and_bindings_are_answered_but_not_stored() -> None:
    unstored = {resource.plural for resource in load_catalogue().resources.values() if not resource.stored}
    assert unstored == {
        "bindings",
        "componentstatuses",
        "tokenreviews",
        "selfsubjectreviews",
        "subjectaccessreviews",
        "localsubjectaccessreviews",
        "selfsubjectaccessreviews",
        "selfsubjectrulesreviews",
    }


def test_two_catalogues_do_not_share_what_a_crd_adds() -> None:
    first, second = load_catalogue(), load_catalogue()
    first.remove("apps", "v1", "deployments")
    assert second.find("apps", "v1", "deployments") is not None


@pytest.mark.parametrize("minor", minors())
def test_every_served_kind_has_a_shape_with_its_object_fields(minor: str) -> None:
    for resource in load_catalogue(minor).resources.values():
        shape = shape_of(resource.group, resource.version, resource.kind, minor)
        assert {"apiVersion", "kind", "metadata"} <= set(shape.properties), resource.qualified
        if "list" in resource.verbs:
            listing = shape_of(resource.group, resource.version, resource.list_kind, minor)
            assert listing.properties["items"].items is not None


def inside(shape: Shape, *path: str) -> Shape:
    for step in path:
        found = shape.items if step == "[]" else shape.properties.get(step)
        assert found is not None, step
        shape = found
    return shape


def test_container_ports_say_how_apply_and_strategic_merge_treat_them() -> None:
    containers = inside(shape_of("apps", "v1", "Deployment"), "spec", "template", "spec", "containers")
    assert (containers.list_type, containers.list_map_keys) == ("map", ("name",))
    assert (containers.patch_strategy, containers.patch_merge_key) == (("merge",), "name")
    ports = inside(containers, "[]", "ports")
    assert (ports.list_type, ports.list_map_keys) == ("map", ("containerPort", "protocol"))
    assert (ports.patch_strategy, ports.patch_merge_key) == (("merge",), "containerPort")
    assert inside(ports, "[]", "protocol").default == "TCP"


def test_shapes_name_the_types_that_need_care() -> None:
    pod = shape_of("", "v1", "Pod")
    volumes = inside(pod, "spec", "volumes")
    assert volumes.patch_strategy == ("merge", "retainKeys")
    container = inside(pod, "spec", "containers", "[]")
    limits = inside(container, "resources", "limits")
    assert limits.kind == "map"
    assert limits.additional is not None
    assert (limits.additional.type_name, limits.additional.kind) == ("Quantity", "int-or-string")
    assert inside(container, "livenessProbe", "httpGet", "port").type_name == "IntOrString"
    assert inside(pod, "metadata", "creationTimestamp").type_name == "Time"
    assert inside(pod, "metadata", "managedFields", "[]", "fieldsV1").type_name == "FieldsV1"
    assert (
        inside(shape_of("coordination.k8s.io", "v1", "Lease"), "spec", "renewTime").type_name == "MicroTime"
    )
    assert inside(shape_of("", "v1", "Secret"), "data").additional.format == "byte"  # type: ignore[union-attr]
    assert inside(shape_of("apps", "v1", "ControllerRevision"), "data").preserve_unknown
    assert inside(pod, "spec", "nodeSelector").map_type == "atomic"
    assert inside(pod, "metadata", "ownerReferences").list_map_keys == ("uid",)
    assert inside(pod, "metadata", "finalizers").list_type == "set"


def test_what_go_always_writes_is_told_apart_from_what_was_chosen() -> None:
    deployment = shape_of("apps", "v1", "Deployment")
    assert inside(deployment, "status").zero == {}
    assert inside(deployment, "spec", "strategy").zero == {}
    assert inside(deployment, "spec", "strategy").default is UNSET
    assert inside(deployment, "spec", "replicas").zero is UNSET
    assert inside(shape_of("apps", "v1", "ControllerRevision"), "revision").zero == 0


def test_a_definition_that_contains_itself_is_one_shape() -> None:
    schema = inside(
        shape_of("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
        *("spec", "versions", "[]", "schema", "openAPIV3Schema"),
    )
    assert inside(schema, "not") is schema
    assert inside(schema, "properties").additional is schema


def test_descriptions_are_kept_apart_from_shapes() -> None:
    texts = prose()["io.k8s.api.core.v1.Container"]
    assert texts[""] == "A single application container that you want to run within a pod."
    assert texts["image"].startswith("Container image name.")
    assert set(prose()) == set(definitions())


def test_unknown_kinds_and_minors_are_named() -> None:
    with pytest.raises(UnknownKind, match="no built-in kind 'Deploy' in apps/v1"):
        shape_of("apps", "v1", "Deploy")
    with pytest.raises(UnknownMinor, match=r"'1\.2' is not available here; choose one of .*1\.37"):
        load_catalogue("1.2")


def test_three_minors_stand_side_by_side() -> None:
    assert minors() == ("1.37", "1.36", "1.35")
    young = ("certificates.k8s.io", "v1", "podcertificaterequests")
    assert load_catalogue("1.37").find(*young) is not None
    assert load_catalogue("1.35").find(*young) is None
    assert shape_of("", "v1", "Pod", "1.35") is not shape_of("", "v1", "Pod", "1.37")


def test_events_are_selected_by_the_field_names_of_their_group() -> None:
    catalogue = load_catalogue()
    core, modern = catalogue.find("", "v1", "events"), catalogue.find("events.k8s.io", "v1", "events")
    assert core is not None
    assert modern is not None
    assert "involvedObject.name" in field_selectors(core)
    assert "regarding.name" in field_selectors(modern)
    assert "involvedObject.name" not in field_selectors(modern)
    source = field_selectors(core)["source"]
    assert source.value_of({"source": {"component": "kubelet"}, "reportingComponent": "x"}) == "kubelet"
    assert source.value_of({"source": {}, "reportingComponent": "x"}) == "x"


def test_selectors_compare_what_go_would_print() -> None:
    catalogue = load_catalogue()
    nodes, jobs, pods = (
        catalogue.find(*key) for key in (("", "v1", "nodes"), ("batch", "v1", "jobs"), ("", "v1", "pods"))
    )
    assert nodes is not None
    assert jobs is not None
    assert pods is not None
    assert field_selectors(nodes)["spec.unschedulable"].value_of({"spec": {}}) == "false"
    assert field_selectors(nodes)["spec.unschedulable"].value_of({"spec": {"unschedulable": True}}) == "true"
    assert "metadata.namespace" not in field_selectors(nodes)
    assert field_selectors(jobs)["status.successful"].value_of({"status": {"succeeded": 3}}) == "3"
    assert field_selectors(jobs)["status.successful"].value_of({}) == "0"
    assert field_selectors(pods)["spec.host"].value_of({"spec": {"nodeName": "n1"}}) == "n1"
    widgets = builtin.Resource("x.io", "v1", "pods", "pod", "Pod", True, (), custom=True)
    assert set(field_selectors(widgets)) == {"metadata.name", "metadata.namespace"}


def test_importing_decodes_nothing() -> None:
    program = (
        "import sys; import slipway.cluster.schema.builtin as b;"
        "from pathlib import Path;"
        "assert b.definitions.cache_info().currsize == 0 and b.prose.cache_info().currsize == 0;"
        "b.load_catalogue();"
        "assert b.definitions.cache_info().currsize == 0"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
