"""The list of controllers: kube-controller-manager's names, accounts, and what makes each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slipway.cluster.controllers.certificate_requests import (
    CertificateCleaner,
    SignCertificate,
    certificate_signer,
)
from slipway.cluster.controllers.cronjob import CronJobController, FinishedJobController
from slipway.cluster.controllers.daemonset import DaemonSetController
from slipway.cluster.controllers.deployment import DeploymentController
from slipway.cluster.controllers.disruption import DisruptionController
from slipway.cluster.controllers.endpoints import EndpointsController
from slipway.cluster.controllers.endpointslice_mirroring import EndpointSliceMirroringController
from slipway.cluster.controllers.endpointslices import EndpointSliceController
from slipway.cluster.controllers.eviction import PodGarbageCollector, TaintEvictionController
from slipway.cluster.controllers.garbage_collector import GarbageCollector
from slipway.cluster.controllers.job import JobController
from slipway.cluster.controllers.namespace import NamespaceController
from slipway.cluster.controllers.node_lifecycle import NodeLifecycleController
from slipway.cluster.controllers.replicaset import ReplicaSetController, ReplicationControllerController
from slipway.cluster.controllers.role_aggregation import RoleAggregationController
from slipway.cluster.controllers.runner import Registration
from slipway.cluster.controllers.service_accounts import (
    MintToken,
    ServiceAccountController,
    root_ca_controller,
    token_controller,
)
from slipway.cluster.controllers.statefulset import StatefulSetController
from slipway.cluster.controllers.volume_protection import ClaimProtection, VolumeProtection
from slipway.cluster.controllers.volumes import volume_binder


@dataclass(frozen=True, slots=True)
class Settings:
    """What controllers need that the API does not give. What is missing leaves its controllers out.

    `ca_bundle` is the cluster's CA in PEM; `mint_token` signs tokens that do not expire.
    """

    ca_bundle: str = ""
    mint_token: MintToken | None = None
    sign_certificate: SignCertificate | None = None
    volumes_root: Path | None = None  # where claims get their folders; None: no provisioner


def registrations(settings: Settings) -> list[Registration]:
    """Every controller that these settings allow, in the order in which they begin."""
    found = [
        # First, because pods are refused where there is no account yet.
        Registration("serviceaccount-controller", "service-account-controller", ServiceAccountController),
        Registration("cronjob-controller", "cronjob-controller", CronJobController),
        Registration("ttl-after-finished-controller", "ttl-after-finished-controller", FinishedJobController),
        Registration(
            "node-lifecycle-controller", "node-controller", NodeLifecycleController, "node-controller"
        ),
        Registration(
            "taint-eviction-controller",
            "node-controller",
            TaintEvictionController,
            "taint-eviction-controller",
        ),
        Registration("pod-garbage-collector-controller", "pod-garbage-collector", PodGarbageCollector),
        Registration(
            "disruption-controller", "disruption-controller", DisruptionController, "controllermanager"
        ),
        Registration(
            "certificatesigningrequest-cleaner-controller", "certificate-controller", CertificateCleaner
        ),
        Registration(
            "clusterrole-aggregation-controller",
            "clusterrole-aggregation-controller",
            RoleAggregationController,
        ),
        Registration("daemonset-controller", "daemon-set-controller", DaemonSetController),
        Registration("deployment-controller", "deployment-controller", DeploymentController),
        Registration("endpoints-controller", "endpoint-controller", EndpointsController),
        Registration("endpointslice-controller", "endpointslice-controller", EndpointSliceController),
        Registration(
            "endpointslice-mirroring-controller",
            "endpointslicemirroring-controller",
            EndpointSliceMirroringController,
        ),
        Registration(
            "persistentvolumeclaim-protection-controller", "pvc-protection-controller", ClaimProtection
        ),
        Registration("persistentvolume-protection-controller", "pv-protection-controller", VolumeProtection),
        Registration("garbage-collector-controller", "generic-garbage-collector", GarbageCollector),
        Registration("job-controller", "job-controller", JobController),
        Registration("namespace-controller", "namespace-controller", NamespaceController),
        Registration("replicaset-controller", "replicaset-controller", ReplicaSetController),
        Registration(
            "replicationcontroller-controller",
            "replication-controller",
            ReplicationControllerController,
            "replication-controller",
        ),
        Registration("statefulset-controller", "statefulset-controller", StatefulSetController),
    ]
    found.append(
        Registration(
            "persistentvolume-binder-controller",
            "persistent-volume-binder",
            volume_binder(settings.volumes_root),
            "persistentvolume-controller",
        )
    )
    if settings.sign_certificate:
        found.append(
            Registration(
                "certificatesigningrequest-signing-controller",
                "certificate-controller",
                certificate_signer(settings.sign_certificate),
            )
        )
    if settings.ca_bundle:
        found.append(
            Registration(
                "root-ca-certificate-publisher-controller",
                "root-ca-cert-publisher",
                root_ca_controller(settings.ca_bundle),
            )
        )
        if settings.mint_token:
            found.append(
                Registration(
                    "serviceaccount-token-controller",
                    "service-account-token-controller",
                    token_controller(settings.ca_bundle, settings.mint_token),
                )
            )
    return found
