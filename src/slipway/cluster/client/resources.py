"""Which resource a request is about: `ApiResource`, and constants for the built-in ones that our own parts use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

_quoted = lru_cache(4096)(quote)


@dataclass(frozen=True, slots=True)
class ApiResource:
    """One plural of one group version; enough to write its paths. `kind` serves references and events."""

    group: str  # "" for the core group
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`deployments.apps`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The percent-encoded path; without a namespace that of all namespaces."""
        root = f"/apis/{self.group}" if self.group else "/api"
        parts = [root, self.version]
        # A Namespace is not in a namespace, though its own sub-resources look as if it were.
        if namespace and self.namespaced:
            parts += ["namespaces", _quoted(namespace, safe=":")]
        parts.append(self.plural)
        if name:
            parts.append(_quoted(name, safe=":"))
        if subresource:
            parts += [_quoted(part, safe=":") for part in subresource.split("/")]
        return "/".join(parts)

    def typed(self, obj: dict[str, Any]) -> dict[str, Any]:
        """The object with `apiVersion` and `kind`, which items of a typed list do not carry."""
        if "kind" in obj and "apiVersion" in obj:
            return obj
        return {"apiVersion": self.api_version, "kind": self.kind, **obj}


def _core(plural: str, kind: str, namespaced: bool = True) -> ApiResource:
    return ApiResource("", "v1", plural, kind, namespaced)


def _apps(plural: str, kind: str) -> ApiResource:
    return ApiResource("apps", "v1", plural, kind)


CONFIG_MAPS = _core("configmaps", "ConfigMap")
ENDPOINTS = _core("endpoints", "Endpoints")
EVENTS = _core("events", "Event")
NAMESPACES = _core("namespaces", "Namespace", namespaced=False)
NODES = _core("nodes", "Node", namespaced=False)
PERSISTENT_VOLUME_CLAIMS = _core("persistentvolumeclaims", "PersistentVolumeClaim")
PERSISTENT_VOLUMES = _core("persistentvolumes", "PersistentVolume", namespaced=False)
PODS = _core("pods", "Pod")
REPLICATION_CONTROLLERS = _core("replicationcontrollers", "ReplicationController")
SECRETS = _core("secrets", "Secret")
SERVICE_ACCOUNTS = _core("serviceaccounts", "ServiceAccount")
SERVICES = _core("services", "Service")

CONTROLLER_REVISIONS = _apps("controllerrevisions", "ControllerRevision")
DAEMON_SETS = _apps("daemonsets", "DaemonSet")
DEPLOYMENTS = _apps("deployments", "Deployment")
REPLICA_SETS = _apps("replicasets", "ReplicaSet")
STATEFUL_SETS = _apps("statefulsets", "StatefulSet")

CRON_JOBS = ApiResource("batch", "v1", "cronjobs", "CronJob")
JOBS = ApiResource("batch", "v1", "jobs", "Job")
CERTIFICATE_SIGNING_REQUESTS = ApiResource(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", namespaced=False
)
CLUSTER_TRUST_BUNDLES = ApiResource(
    "certificates.k8s.io", "v1", "clustertrustbundles", "ClusterTrustBundle", namespaced=False
)
POD_CERTIFICATE_REQUESTS = ApiResource(
    "certificates.k8s.io", "v1", "podcertificaterequests", "PodCertificateRequest"
)
CUSTOM_RESOURCE_DEFINITIONS = ApiResource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
ENDPOINT_SLICES = ApiResource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
LEASES = ApiResource("coordination.k8s.io", "v1", "leases", "Lease")
POD_DISRUPTION_BUDGETS = ApiResource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
PRIORITY_CLASSES = ApiResource(
    "scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False
)
STORAGE_CLASSES = ApiResource("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)

_RBAC = "rbac.authorization.k8s.io"
CLUSTER_ROLES = ApiResource(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDINGS = ApiResource(
    _RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
ROLES = ApiResource(_RBAC, "v1", "roles", "Role")
ROLE_BINDINGS = ApiResource(_RBAC, "v1", "rolebindings", "RoleBinding")
