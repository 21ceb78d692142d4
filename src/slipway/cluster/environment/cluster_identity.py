"""What makes a cluster the same one after a restart: its authority, the key of its tokens, its address ranges.

Kept in one file beside the state file and written in one step, so that kubeconfigs, the tokens of pods and the
addresses of Services outlive any end of the process. Without a state file nothing is kept.
"""

from __future__ import annotations

import datetime
import json
import os
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from slipway.cluster.access.certificates import CertificateAuthority, KeyPair
from slipway.cluster.access.service_accounts import TokenSigner
from slipway.cluster.environment.kubeconfig import write_private


class IdentityError(Exception):
    """The file beside the state cannot be read; the text says which, and what to do."""


@dataclass(frozen=True, slots=True)
class ClusterIdentity:
    """PEM texts, and networks as texts; a range is empty until the cluster has one. `nodes` is what their names begin
    with: the cluster's name when it was first started."""

    authority_certificate: str
    authority_key: str
    token_key: str
    pod_range: str = ""
    service_range: str = ""
    nodes: str = ""

    @classmethod
    def new(cls, now: datetime.datetime) -> ClusterIdentity:
        pair = CertificateAuthority.create(now).pair
        return cls(pair.certificate.decode(), pair.key.decode(), TokenSigner.new_key().decode())

    @classmethod
    def of(cls, state: Path | None, now: datetime.datetime) -> ClusterIdentity:
        """That of the state file; a new one, kept from now on, where it has none."""
        if state is None:
            return cls.new(now)
        path = _path(state)
        try:
            if not path.exists():
                cls.new(now)._keep_first(path)
            return cls(**_texts(json.loads(path.read_text())))
        except (ValueError, TypeError, OSError) as error:
            raise IdentityError(
                f"{path}: cannot be read ({error}); restore it from where the state file came from, or remove it"
                " to give the cluster new certificates and keys"
            ) from None

    def as_started(self, state: Path | None, name: str, pods: str, services: str) -> ClusterIdentity:
        """This one with the name and the ranges that the cluster now has, kept for the next start."""
        changed = replace(self, nodes=self.nodes or name, pod_range=pods, service_range=services)
        if state is not None and changed != self:
            write_private(_path(state), asdict(changed))
        return changed

    def authority(self, now: datetime.datetime) -> CertificateAuthority:
        pair = KeyPair(self.authority_certificate.encode(), self.authority_key.encode())
        return CertificateAuthority(pair, now)

    def _keep_first(self, path: Path) -> None:
        """Keep it unless somebody else who starts on this state just did."""
        mine = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        write_private(mine, asdict(self))
        try:
            os.link(mine, path)
        except FileExistsError:
            pass
        finally:
            mine.unlink()


def _path(state: Path) -> Path:
    return state.with_name(state.name + ".identity.json")


def _texts(document: Any) -> dict[str, str]:
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise ValueError("expected a mapping of texts")
    return document
