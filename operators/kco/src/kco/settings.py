"""Every setting of the operator: its variable, default, bounds.

A field `log_level` is `KCO_LOG_LEVEL`, else `LOG_LEVEL` (the brief's names), else the default. Settings whose
plain name other programs use too (`NAMESPACE`, `IDENTITY`) are read under the prefixed name only.
"""

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

PREFIX = "KCO_"


def _words(value: Any) -> Any:
    """A comma-separated text as a list."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]

DEFAULT_PATCHABLE = (
    "pods,services,configmaps,deployments.apps,replicasets.apps,daemonsets.apps,statefulsets.apps,"
    "jobs.batch,cronjobs.batch,horizontalpodautoscalers.autoscaling"
)


class Settings(BaseModel):
    """The operator's configuration; see docs/settings.md, which is made from this class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)
    ] = Field(default="INFO", description="How much is logged")
    log_format: Annotated[Literal["json", "plain"], BeforeValidator(_lower)] = Field(
        default="json", description="One JSON object per line, or plain text"
    )
    graphql_timeout: float = Field(
        default=10, ge=0.1, le=60, description="Seconds for one request, where a TargetApp names none"
    )
    graphql_max_retries: int = Field(
        default=3,
        ge=0,
        le=10,
        description="Retries of one poll within its interval, where a TargetApp names none",
    )
    default_polling_interval: int = Field(
        default=30, ge=1, le=3600, description="Seconds between polls, where a TargetApp names none"
    )
    action_execution_timeout: float = Field(
        default=300,
        ge=1,
        le=3600,
        description="Seconds for one attempt of an action, where a rule names none",
    )
    action_concurrency: int = Field(default=10, ge=1, le=1000, description="Actions that run at once, in all")
    metrics_enabled: bool = Field(default=True, description="Serve /metrics")
    metrics_port: int = Field(default=8080, ge=0, le=65535, description="Port of /metrics (0: any free one)")
    health_port: int = Field(
        default=8081, ge=0, le=65535, description="Port of /healthz and /readyz (0: any free one)"
    )
    metrics_per_target: bool = Field(
        default=True, description="Label metrics with namespace and name of the TargetApp"
    )
    namespace: str = Field(
        default="",
        description="Watch this namespace only (needs a Role instead of a ClusterRole); empty: all",
        json_schema_extra={"prefixed_only": True},
    )
    operator_namespace: str = Field(
        default="",
        description="Where the operator keeps its Leases; empty: its own namespace",
        json_schema_extra={"prefixed_only": True},
    )
    identity: str = Field(
        default="",
        description="This replica's name in Leases; empty: the host's name and a random end",
        json_schema_extra={"prefixed_only": True},
    )
    rate_limit_requests: int = Field(
        default=100,
        ge=1,
        le=60_000,
        description="GraphQL requests a minute of one instance, where a TargetApp names none; its burst is 5",
    )
    global_rate_limit: int = Field(
        default=60_000, ge=1, le=6_000_000, description="GraphQL requests a minute, over all TargetApps"
    )
    global_rate_burst: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="Requests that may be sent at once when the limit over all was not used",
    )
    leader_election: bool = Field(default=True, description="Act only while holding the Lease")
    sharing: Annotated[Literal["leader", "shares"], BeforeValidator(_lower)] = Field(
        default="leader", description="One replica acts (leader), or all share the TargetApps (shares)"
    )
    lease_duration: float = Field(
        default=15, ge=3, le=300, description="Seconds after which a silent leader may be replaced"
    )
    shutdown_grace: float = Field(
        default=20, ge=0, le=300, description="Seconds that running actions get to finish at shutdown"
    )
    refused_networks: Words = Field(
        default=(), description="CIDRs that must not be connected to, beside the built-in list"
    )
    allowed_networks: Words = Field(
        default=(), description="CIDRs that may be connected to in spite of any list"
    )
    patchable_kinds: Words = Field(
        default=tuple(DEFAULT_PATCHABLE.split(",")),
        description="plural.group of the kinds that patch_resource may patch (* for all but secrets)",
    )
    enabled_actions: Words = Field(default=("*",), description="Actions that may be used; * for all")
    run_history: int = Field(default=10, ge=1, le=1000, description="Finished ActionRuns kept per TargetApp")
    run_history_days: float = Field(default=7, ge=0.01, le=3650, description="Days that ActionRuns are kept")
    history_url: str = Field(
        default="", description="Where states are recorded: sqlite:///path or postgresql://…; empty: nowhere"
    )
    history_days: float = Field(default=30, ge=0.01, le=3650, description="Days that history is kept")
    stall_seconds: float = Field(
        default=30, ge=1, le=3600, description="/healthz fails when the scheduler stands still for so long"
    )
    use_uvloop: bool = Field(default=True, description="Use uvloop where it is installed")

    @field_validator("refused_networks", "allowed_networks")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for text in networks:
            ipaddress.ip_network(text)
        return networks

    @field_validator("history_url")
    @classmethod
    def _known_database(cls, url: str) -> str:
        if url and not url.startswith(("sqlite:", "postgresql:", "postgres:", "sqlite+", "postgresql+")):
            raise ValueError("must begin with sqlite:/// or postgresql://")
        return url
