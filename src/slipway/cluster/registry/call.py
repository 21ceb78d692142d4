"""One API request, understood: what is asked, of which resource, by whom, with which options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from slipway.cluster.exchange import Identity
from slipway.cluster.schema.resource import Resource

ANONYMOUS = Identity("system:anonymous", ("system:unauthenticated",))
Verb = Literal[
    "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "connect"
]  # `connect` is admission's word for exec, attach, port-forward and proxy


@dataclass(slots=True)
class Options:
    """The query options of all verbs, and the DeleteOptions that may come in a body. Empty means not given."""

    dry_run: bool = False
    field_manager: str = ""
    field_validation: str = ""  # Ignore, Warn, Strict; "" is the default, Warn
    force: bool | None = None
    resource_version: str = ""
    resource_version_match: str = ""
    limit: int = 0
    continue_token: str = ""
    label_selector: str = ""
    field_selector: str = ""
    timeout_seconds: float | None = None
    allow_watch_bookmarks: bool = False
    send_initial_events: bool | None = None
    grace_period_seconds: int | None = None
    propagation_policy: str = ""
    orphan_dependents: bool | None = None
    precondition_uid: str = ""
    precondition_resource_version: str = ""


@dataclass(slots=True)
class Call:
    """What the registry is asked to do. `body_errors` is what strict decoding says of the text of the body, and
    `warnings` collects what becomes Warning headers."""

    verb: Verb
    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    options: Options = field(default_factory=Options)
    identity: Identity = ANONYMOUS
    user_agent: str = ""
    body_errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    audit: dict[str, Any] = field(default_factory=dict)

    @property
    def manager(self) -> str:
        """The field manager: the option, or the user agent up to its first `/`."""
        if self.options.field_manager:
            return self.options.field_manager
        return self.user_agent.split("/", 1)[0] or "unknown"
