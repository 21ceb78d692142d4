"""The control plane put together: store, definitions, registry, access and the API, without any listener."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.cluster.access.admission.chain import Chain, Plugin
from slipway.cluster.access.admission.default_storage_class import DefaultStorageClass
from slipway.cluster.access.admission.namespace_lifecycle import NamespaceLifecycle
from slipway.cluster.access.admission.no_escalation import NoEscalation
from slipway.cluster.access.admission.pod_defaults import (
    DefaultTolerations,
    PodPriority,
    ServiceAccountAdmission,
)
from slipway.cluster.access.admission.runtime_class import RuntimeClassAdmission
from slipway.cluster.access.admission.webhooks import Webhooks
from slipway.cluster.access.authentication import MASTERS, Authenticator, StaticTokens
from slipway.cluster.access.authorization import RbacAuthorizer
from slipway.cluster.access.bootstrap import bootstrap
from slipway.cluster.access.conversion import ConversionWebhooks
from slipway.cluster.access.impersonation import Impersonation
from slipway.cluster.access.reviews import Reviews
from slipway.cluster.access.service_accounts import TokenSigner
from slipway.cluster.access.service_addresses import ServiceAddresses
from slipway.cluster.access.usage import Usage
from slipway.cluster.client.storage import default_class
from slipway.cluster.clock import Clock
from slipway.cluster.controllers.roles import policy
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.environment.service_range import ensure_service_range
from slipway.cluster.exchange import Identity
from slipway.cluster.kubelet import Kubelet
from slipway.cluster.registry.builtin_kinds import make_builtin
from slipway.cluster.registry.conversion import Conversions
from slipway.cluster.registry.definition import Definitions
from slipway.cluster.registry.registry import Registry
from slipway.cluster.schema.builtin import load_catalogue
from slipway.cluster.schema.openapi import OpenApi
from slipway.cluster.server import proxying
from slipway.cluster.server import usage as usage_documents
from slipway.cluster.server.api import ApiServer
from slipway.cluster.server.api_subresources import object_subresources
from slipway.cluster.server.discovery import Discovery
from slipway.cluster.server.documents import Documents
from slipway.cluster.server.metrics import Metrics
from slipway.cluster.server.oidc import CONFIGURATION, KEYS, TokenDocuments
from slipway.cluster.server.openapi import OpenApiDocuments
from slipway.cluster.server.pod_streams import PodStreams
from slipway.cluster.server.resource_metrics import ResourceMetrics
from slipway.cluster.store import Store

if TYPE_CHECKING:
    from slipway.cluster.store.journal import Journal


@dataclass(slots=True)
class ControlPlane:
    """`admin_token` belongs to system:masters."""

    options: ClusterOptions
    clock: Clock
    store: Store
    registry: Registry
    api: ApiServer
    documents: Documents
    tokens: StaticTokens
    signer: TokenSigner
    admin_token: str
    kubelets: dict[str, Kubelet]  # by node; who runs nodes enters them
    address: str = ""  # host and port that are listened on
    ready: bool = False

    @classmethod
    def create(cls, options: ClusterOptions, clock: Clock, token_key: bytes) -> ControlPlane:
        """`token_key` is the PEM key that signs service-account tokens."""
        randomness = random.Random(options.seed)
        store = Store(_journal(options.state), options.window)
        definitions = Definitions(
            load_catalogue(options.version), partial(make_builtin, minor=options.version)
        )
        registry = Registry(
            store, definitions, clock, randomness=randomness, service_range=options.service_range
        )
        addresses = ServiceAddresses(registry)
        registry.conversions = Conversions(ConversionWebhooks(addresses.resolve, registry.new_uid))
        authorizer = RbacAuthorizer(registry)
        registry.admission = _admission(options, registry, addresses, authorizer)
        admin_token = secrets.token_urlsafe(24)
        tokens = StaticTokens({admin_token: Identity("kubernetes-admin", (MASTERS,))})
        for token, (user, groups) in options.tokens.items():
            tokens.identities[token] = Identity(user, groups)
        signer = TokenSigner(token_key, registry)
        authenticator = Authenticator([tokens, signer], anonymous=options.anonymous)
        documents = Documents(lambda: plane.ready)
        _fill(documents, options, registry, signer, lambda: plane.address)
        deeds = Usage()
        documents.by_prefix[usage_documents.PATH] = usage_documents.UsageDocuments(deeds)
        kubelets: dict[str, Kubelet] = {}
        usage = ResourceMetrics(registry, kubelets)
        api = ApiServer(
            registry,
            authenticator,
            Impersonation(authorizer, deeds),
            authorizer,
            documents,
            {
                **object_subresources(registry, signer),
                **PodStreams(registry, kubelets, authorizer, deeds).handlers(),
                **proxying.handlers(registry, kubelets),
                ("nodes.metrics.k8s.io", ""): usage,
                ("pods.metrics.k8s.io", ""): usage,
            },
            Reviews(registry, authorizer, signer, [tokens]),
            deeds,
        )
        plane = cls(options, clock, store, registry, api, documents, tokens, signer, admin_token, kubelets)
        return plane

    async def bootstrap(self) -> None:
        """Create what every cluster has from the start, where it is missing."""
        await bootstrap(self.registry, self.options.version, [*policy(), default_class()])
        await ensure_service_range(self.registry, self.options.service_range)
        self.ready = True

    def close(self) -> None:
        self.store.close()


def _admission(
    options: ClusterOptions, registry: Registry, addresses: ServiceAddresses, authorizer: RbacAuthorizer
) -> Chain:
    plugins: list[Plugin] = [NamespaceLifecycle(registry)]
    if options.service_account_admission:
        plugins.append(ServiceAccountAdmission(registry))
    plugins += [
        PodPriority(registry),
        DefaultTolerations(),
        RuntimeClassAdmission(registry),
        DefaultStorageClass(registry),
        Webhooks(registry, addresses.resolve, authorizer),
        NoEscalation(registry, authorizer),
    ]
    return Chain(plugins)


def _fill(
    documents: Documents,
    options: ClusterOptions,
    registry: Registry,
    signer: TokenSigner,
    address: Callable[[], str],
) -> None:
    """What is served beside the resources. `address` is known once somebody listens."""
    definitions, by_prefix = registry.definitions, documents.by_prefix
    discovery = Discovery(definitions.catalogue, options.version, address)
    for prefix in ("/", "/api", "/apis", "/version"):
        by_prefix[prefix] = discovery
    open_api = OpenApi(
        definitions.catalogue,
        lambda resource: definitions.of(resource).custom.get("schema"),
        options.version,
    )
    by_prefix["/openapi"] = OpenApiDocuments(open_api, registry.clock)
    for path in (CONFIGURATION, KEYS):
        by_prefix[path] = TokenDocuments(signer, address)
    by_prefix["/metrics"] = Metrics(registry.store, definitions, options.version, registry.clock)


def _journal(state: Path | None) -> Journal | None:
    if state is None:
        return None
    from slipway.cluster.store.journal import Journal  # SQLite, which a cluster in memory does without

    return Journal(state)
