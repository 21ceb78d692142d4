"""The control plane put together: store, definitions, registry, access and the API, without any listener."""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass

from slipway.cluster.access.authentication import MASTERS, Authenticator, StaticTokens
from slipway.cluster.access.authorization import RbacAuthorizer
from slipway.cluster.access.bootstrap import bootstrap
from slipway.cluster.clock import Clock
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Identity
from slipway.cluster.registry.builtin_kinds import make_builtin
from slipway.cluster.registry.definition import Definitions
from slipway.cluster.registry.registry import Registry
from slipway.cluster.schema.builtin import load_catalogue
from slipway.cluster.server.api import ApiServer
from slipway.cluster.server.discovery import Discovery
from slipway.cluster.server.documents import Documents
from slipway.cluster.store import Journal, Store


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
    admin_token: str
    ready: bool = False

    @classmethod
    def create(cls, options: ClusterOptions, clock: Clock) -> ControlPlane:
        randomness = random.Random(options.seed)
        store = Store(Journal(options.state) if options.state else None, options.window)
        definitions = Definitions(load_catalogue(options.version), make_builtin)
        registry = Registry(store, definitions, clock, randomness=randomness)
        admin_token = secrets.token_urlsafe(24)
        tokens = StaticTokens({admin_token: Identity("kubernetes-admin", (MASTERS,))})
        for token, (user, groups) in options.tokens.items():
            tokens.identities[token] = Identity(user, groups)
        authorizer = RbacAuthorizer(registry)
        authenticator = Authenticator([tokens], anonymous=options.anonymous)
        documents = Documents(lambda: plane.ready)
        discovery = Discovery(
            definitions.catalogue, options.version, lambda: f"{options.host}:{options.port}"
        )
        for prefix in ("/", "/api", "/apis", "/version"):
            documents.by_prefix[prefix] = discovery
        api = ApiServer(registry, authenticator, authorizer, documents, {})
        plane = cls(options, clock, store, registry, api, documents, tokens, admin_token)
        return plane

    async def bootstrap(self) -> None:
        """Create what every cluster has from the start, where it is missing."""
        await bootstrap(self.registry)
        self.ready = True

    def close(self) -> None:
        self.store.close()
