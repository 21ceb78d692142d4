"""Validation of built-in objects on create and update: what upstream would refuse, in its words.

`validate` looks up the kind; metadata, which all kinds share, is checked first. Kinds that are not listed have only
their metadata checked. Objects are decoded and defaulted before they come here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slipway.cluster.registry.validation import (
    autoscaling,
    certificates,
    cluster,
    configuration,
    events,
    jobs,
    networking,
    pods,
    roles,
    services,
    storage,
    webhooks,
    workloads,
)
from slipway.cluster.registry.validation.findings import Findings
from slipway.cluster.registry.validation.metadata import metadata_errors, name_form
from slipway.cluster.status import FieldError

Object = dict[str, Any]
KindCheck = Callable[[Findings, Object, Object | None], None]

# (group, kind); all served versions of a kind look alike enough
_KINDS: dict[tuple[str, str], KindCheck] = {
    ("", "ConfigMap"): configuration.config_map_errors,
    ("", "Endpoints"): services.endpoints_errors,
    ("", "Event"): events.core_event_errors,
    ("", "LimitRange"): configuration.limit_range_errors,
    ("", "Namespace"): cluster.namespace_errors,
    ("", "Node"): cluster.node_errors,
    ("", "PersistentVolume"): storage.volume_errors,
    ("", "PersistentVolumeClaim"): storage.claim_errors,
    ("", "Pod"): pods.pod_errors,
    ("", "PodTemplate"): workloads.pod_template_errors,
    ("", "ReplicationController"): workloads.replication_controller_errors,
    ("", "ResourceQuota"): configuration.resource_quota_errors,
    ("", "Secret"): configuration.secret_errors,
    ("", "Service"): services.service_errors,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): webhooks.webhooks_errors,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): webhooks.webhooks_errors,
    ("apiregistration.k8s.io", "APIService"): webhooks.api_service_errors,
    ("apps", "ControllerRevision"): workloads.controller_revision_errors,
    ("apps", "DaemonSet"): workloads.daemon_set_errors,
    ("apps", "Deployment"): workloads.deployment_errors,
    ("apps", "ReplicaSet"): workloads.replica_set_errors,
    ("apps", "StatefulSet"): workloads.stateful_set_errors,
    ("autoscaling", "HorizontalPodAutoscaler"): autoscaling.autoscaler_errors,
    ("batch", "CronJob"): jobs.cron_job_errors,
    ("batch", "Job"): jobs.job_errors,
    ("certificates.k8s.io", "ClusterTrustBundle"): certificates.trust_bundle_errors,
    ("certificates.k8s.io", "PodCertificateRequest"): certificates.pod_certificate_request_errors,
    ("coordination.k8s.io", "Lease"): cluster.lease_errors,
    ("discovery.k8s.io", "EndpointSlice"): services.endpoint_slice_errors,
    ("events.k8s.io", "Event"): events.event_errors,
    ("networking.k8s.io", "Ingress"): networking.ingress_errors,
    ("networking.k8s.io", "IngressClass"): networking.ingress_class_errors,
    ("networking.k8s.io", "NetworkPolicy"): networking.network_policy_errors,
    ("node.k8s.io", "RuntimeClass"): cluster.runtime_class_errors,
    ("policy", "PodDisruptionBudget"): autoscaling.budget_errors,
    ("rbac.authorization.k8s.io", "ClusterRole"): roles.cluster_role_errors,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): roles.cluster_binding_errors,
    ("rbac.authorization.k8s.io", "Role"): roles.role_errors,
    ("rbac.authorization.k8s.io", "RoleBinding"): roles.binding_errors,
    ("scheduling.k8s.io", "PriorityClass"): cluster.priority_class_errors,
    ("storage.k8s.io", "CSIDriver"): storage.csi_driver_errors,
    ("storage.k8s.io", "StorageClass"): storage.storage_class_errors,
    ("storage.k8s.io", "VolumeAttachment"): storage.volume_attachment_errors,
}


# Groups whose kinds are validated outside of Kubernetes' own packages
_ANY_FINALIZER = frozenset({"apiextensions.k8s.io", "apiregistration.k8s.io"})


def validate(
    group: str, kind: str, resource: str, obj: Object, old: Object | None, *, namespaced: bool
) -> list[FieldError]:
    """What is wrong with a built-in object that is created (old is None) or replaces `old`.

    `resource` is the qualified plural ("deployments.apps").
    """
    found = Findings()
    metadata_errors(
        found,
        obj,
        old,
        namespaced=namespaced,
        form=name_form(resource),
        any_finalizer=group in _ANY_FINALIZER,
    )
    check = _KINDS.get((group, kind))
    if check is not None:
        check(found, obj, old)
    return found.errors
