"""What every namespace has from the start (`default` account, root CA), and tokens in Secrets for accounts."""

from __future__ import annotations

import base64
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial

from slipway.cluster.client.objects import (
    Key,
    Object,
    annotations_of,
    clone,
    name_of,
    namespace_of,
    uid_of,
)
from slipway.cluster.client.resources import (
    CONFIG_MAPS,
    NAMESPACES,
    SECRETS,
    SERVICE_ACCOUNTS,
    ApiResource,
)
from slipway.cluster.controllers.controller import Context, Controller
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.writes import Create, Delete, Update
from slipway.cluster.status import StatusError

ROOT_CA = "kube-root-ca.crt"
_ROOT_CA_NOTE = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as "
    "the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
    "Kubernetes clusters."
)
TOKEN_TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"

# namespace, account's name and uid, Secret's name and uid in; a token that does not expire out
MintToken = Callable[[str, str, str, str, str], Awaitable[str]]


class _PerNamespace(Controller):
    """Keeps one object of a fixed name in each namespace that is not being deleted."""

    resource: ApiResource
    object_name: str

    def watch(self) -> None:
        self.namespaces = self.own_changes(NAMESPACES)
        self.objects = self.informer(self.resource)
        self.handle(
            self.objects,
            lambda old, new: (
                self.queue.add(("", namespace_of(new or old or {})))
                if name_of(new or old or {}) == self.object_name
                else None
            ),
        )

    @abstractmethod
    def wanted(self, namespace: str, current: Object | None) -> Object:
        """The object as it should be."""

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        namespace = self.namespaces.get(*key)
        if namespace is None or (namespace.get("status") or {}).get("phase") == "Terminating":
            return None
        current = self.objects.get(key[1], self.object_name)
        wanted = self.wanted(key[1], current)
        if current is None:
            try:
                await effects.do(Create(self.resource, wanted))
            except StatusError as error:
                if error.reason != "AlreadyExists":
                    raise
        elif wanted != current:
            await effects.do(Update(self.resource, wanted))
        return None


class ServiceAccountController(_PerNamespace):
    resource = SERVICE_ACCOUNTS
    object_name = "default"

    def wanted(self, namespace: str, current: Object | None) -> Object:
        return current or {"metadata": {"name": self.object_name, "namespace": namespace}}


class RootCAController(_PerNamespace):
    resource = CONFIG_MAPS
    object_name = ROOT_CA

    def __init__(self, ca_bundle: str, context: Context) -> None:
        self._ca_bundle = ca_bundle
        super().__init__(context)

    def wanted(self, namespace: str, current: Object | None) -> Object:
        wanted: Object = {"metadata": {"name": ROOT_CA, "namespace": namespace}}
        if current:
            wanted = clone(current)
        wanted["data"] = {"ca.crt": self._ca_bundle}
        wanted["metadata"].setdefault("annotations", {})["kubernetes.io/description"] = _ROOT_CA_NOTE
        return wanted


class TokenController(Controller):
    """Fills Secrets of type service-account-token, and deletes them with their account."""

    def __init__(self, ca_bundle: str, mint: MintToken, context: Context) -> None:
        self._ca = base64.b64encode(ca_bundle.encode()).decode()
        self._mint = mint
        super().__init__(context)

    def watch(self) -> None:
        self.accounts = self.informer(SERVICE_ACCOUNTS)
        self.secrets = self.informer(SECRETS)
        self.secrets.add_index(
            "account",
            lambda secret: (
                (f"{namespace_of(secret)}/{annotations_of(secret).get(ACCOUNT_NAME, '')}",)
                if secret.get("type") == TOKEN_TYPE
                else ()
            ),
        )
        self.handle(
            self.secrets,
            lambda old, new: self.enqueue(new) if new is not None and new.get("type") == TOKEN_TYPE else None,
        )
        self.handle(self.accounts, self._account_changed)

    def _account_changed(self, old: Object | None, new: Object | None) -> None:
        account = new or old or {}
        for secret in self.secrets.indexed("account", f"{namespace_of(account)}/{name_of(account)}"):
            self.enqueue(secret)

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        secret = self.secrets.get(*key)
        if secret is None:
            return None
        account_name = annotations_of(secret).get(ACCOUNT_NAME, "")
        try:
            account = await effects.client.get(SERVICE_ACCOUNTS, account_name, key[0])
        except StatusError as error:
            if error.code != 404:
                raise
            account = None
        wanted_uid = annotations_of(secret).get(ACCOUNT_UID)
        if account is None or (wanted_uid and wanted_uid != uid_of(account)):
            await effects.do(Delete(SECRETS, secret))
            return None
        data = secret.get("data") or {}
        if data.get("token") and data.get("ca.crt") == self._ca and data.get("namespace") and wanted_uid:
            return None
        wanted = clone(secret)
        token = (
            data.get("token")
            or base64.b64encode(
                (await self._mint(key[0], account_name, uid_of(account), key[1], uid_of(secret))).encode()
            ).decode()
        )
        wanted["data"] = {
            **data,
            "token": token,
            "ca.crt": self._ca,
            "namespace": base64.b64encode(key[0].encode()).decode(),
        }
        wanted["metadata"].setdefault("annotations", {})[ACCOUNT_UID] = uid_of(account)
        await effects.do(Update(SECRETS, wanted))
        return None


def root_ca_controller(ca_bundle: str) -> Callable[[Context], Controller]:
    return partial(RootCAController, ca_bundle)


def token_controller(ca_bundle: str, mint: MintToken) -> Callable[[Context], Controller]:
    return partial(TokenController, ca_bundle, mint)
