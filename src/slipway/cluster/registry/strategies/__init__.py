"""Strategies of the kinds that need one, a module a subject; all others use the default."""

from slipway.cluster.registry.strategies.certificates import CertificateSigningRequestStrategy
from slipway.cluster.registry.strategies.crds import CrdStrategy
from slipway.cluster.registry.strategies.daemon_sets import DaemonSetStrategy
from slipway.cluster.registry.strategies.jobs import JobStrategy
from slipway.cluster.registry.strategies.namespaces import NamespaceStrategy
from slipway.cluster.registry.strategies.pods import PodStrategy
from slipway.cluster.registry.strategies.services import ServiceStrategy
from slipway.cluster.registry.strategies.webhook_configurations import WebhookConfigurationStrategy
from slipway.cluster.registry.strategy import Strategy
from slipway.cluster.schema.resource import Resource

_DEFAULT = Strategy()
_STRATEGIES: dict[str, Strategy] = {
    "certificatesigningrequests.certificates.k8s.io": CertificateSigningRequestStrategy(),
    "customresourcedefinitions.apiextensions.k8s.io": CrdStrategy(),
    "daemonsets.apps": DaemonSetStrategy(),
    "jobs.batch": JobStrategy(),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": WebhookConfigurationStrategy(),
    "namespaces": NamespaceStrategy(),
    "pods": PodStrategy(),
    "services": ServiceStrategy(),
    "validatingwebhookconfigurations.admissionregistration.k8s.io": WebhookConfigurationStrategy(),
}


def strategy_of(resource: Resource) -> Strategy:
    return _STRATEGIES.get(resource.qualified, _DEFAULT)


__all__ = ["strategy_of"]
