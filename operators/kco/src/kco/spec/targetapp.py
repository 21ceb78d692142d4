"""The fields of a TargetApp and their bounds, as `spec` of `operator.kco.local/v1alpha1` has them.

Rules are in `spec.rule`; `spec.reading` reads a whole `spec`. Whether the GraphQL text is acceptable is
`spec.document`'s question, whether the action's parameters are is the action handler's.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from kco.spec.part import Name, Part
from kco.spec.path import parse_path
from kco.spec.rule import Rule

GROUP, VERSION = "operator.kco.local", "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

MAX_ACTIONS = 100


class KeyRef(Part):
    """One key of a Secret or ConfigMap in the TargetApp's namespace."""

    name: Name
    key: Name


class ValueSource(Part):
    secret_key_ref: KeyRef | None = None
    config_map_key_ref: KeyRef | None = None

    @model_validator(mode="after")
    def _one(self) -> "ValueSource":
        if (self.secret_key_ref is None) == (self.config_map_key_ref is None):
            raise ValueError("give exactly one of secretKeyRef and configMapKeyRef")
        return self


class Header(Part):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")]
    value: Annotated[str, Field(max_length=8192)] | None = None
    value_from: ValueSource | None = None

    @model_validator(mode="after")
    def _one(self) -> "Header":
        if (self.value is None) == (self.value_from is None):
            raise ValueError("give exactly one of value and valueFrom")
        if self.value is not None and any(mark in self.value for mark in "\r\n\0"):
            raise ValueError("value must not contain line breaks")
        if self.name.lower() in ("host", "content-length", "transfer-encoding", "connection"):
            raise ValueError(f"header {self.name!r} is set by the client itself")
        return self


class Requirement(Part):
    key: Name
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _values_fit(self) -> "Requirement":
        if self.operator in ("In", "NotIn") and not self.values:
            raise ValueError(f"operator {self.operator} needs values")
        if self.operator in ("Exists", "DoesNotExist") and self.values:
            raise ValueError(f"operator {self.operator} takes no values")
        return self


class Selector(Part):
    match_labels: dict[str, str] = Field(default_factory=dict)
    match_expressions: list[Requirement] = Field(default_factory=list)

    @property
    def empty(self) -> bool:
        return not self.match_labels and not self.match_expressions


class ServiceReference(Part):
    """A Service of the TargetApp's namespace, reached by its cluster DNS name."""

    name: Name
    port: Annotated[int, Field(ge=1, le=65535)] = 80
    scheme: Literal["http", "https"] = "http"


class Tls(Part):
    ca_from: ValueSource | None = None
    client_certificate_secret: Name | None = None
    insecure_skip_verify: bool = False
    server_name: Name | None = None


class Severity(Part):
    """Events about this field (and value, where given) have this type."""

    field: str
    value: Any = None
    type: Literal["Normal", "Warning"]


class EventRules(Part):
    """What changes are told about, and how."""

    severity: list[Severity] = Field(default_factory=list, max_length=100)
    ignore: list[str] = Field(default_factory=list, max_length=100)
    redact: list[str] = Field(default_factory=list, max_length=100)

    @field_validator("ignore", "redact")
    @classmethod
    def _paths_parse(cls, paths: list[str]) -> list[str]:
        for text in paths:
            parse_path(text)
        return paths


class StateMetric(Part):
    """A state field as a Prometheus series: numbers and booleans as they are, enums as one series per value."""

    field: str
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    values: list[str] = Field(default_factory=list, max_length=32)

    @field_validator("field")
    @classmethod
    def _path_parses(cls, text: str) -> str:
        parse_path(text)
        return text


class Subscription(Part):
    """State by graphql-transport-ws; polling goes on as fallback while the socket is down."""

    query: Annotated[str, Field(min_length=1, max_length=65536)]
    path: str | None = None


class ClusterReference(Part):
    """The cluster that the application runs in, where it is not this one: a kubeconfig in a Secret."""

    secret_key_ref: KeyRef


# Shared by all that say nothing: pydantic would copy a default that holds lists for each of a thousand specs.
NO_SELECTOR, NO_EVENT_RULES = Selector(), EventRules()


class TargetAppSpec(Part):
    selector: Selector = Field(default_factory=lambda: NO_SELECTOR)
    graphql_endpoint: Annotated[str, Field(min_length=1, max_length=2048)] = Field(
        default="/graphql", alias="graphqlEndpoint"
    )
    service: ServiceReference | None = None
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    scheme: Literal["http", "https"] = "http"
    pod_policy: Literal["One", "Each"] = "One"
    polling_interval: Annotated[int, Field(ge=1, le=3600)] | None = None
    state_query: Annotated[str, Field(max_length=65536)]
    operation_name: str | None = None
    variables: dict[str, Any] = Field(default_factory=dict)
    timeout: Annotated[float, Field(ge=0.1, le=60)] | None = None
    max_retries: Annotated[int, Field(ge=0, le=10)] | None = None
    max_response_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024
    failure_threshold: Annotated[int, Field(ge=1, le=100)] = 3
    requests_per_minute: Annotated[int, Field(ge=1, le=60000)] | None = None
    follow_redirects: bool = False
    headers: list[Header] = Field(default_factory=list, max_length=50)
    tls: Tls = Tls()
    graphql_schema: ValueSource | None = None
    subscription: Subscription | None = None
    suspend: bool = False
    dry_run: bool = False
    service_account_name: Name | None = None
    cluster: ClusterReference | None = None
    max_actions_per_hour: Annotated[int, Field(ge=1, le=3600)] | None = None
    events: EventRules = Field(default_factory=lambda: NO_EVENT_RULES)
    metrics: list[StateMetric] = Field(default_factory=list, max_length=20)
    actions: list[Rule] = Field(default_factory=list, max_length=MAX_ACTIONS)

    @model_validator(mode="after")
    def _whole(self) -> "TargetAppSpec":
        if self.graphql_endpoint.startswith("/") and self.service is None and self.selector.empty:
            raise ValueError(
                f"graphqlEndpoint {self.graphql_endpoint[:80]!r} is a path, so selector must choose pods: "
                "give selector.matchLabels or matchExpressions, or name a service"
            )
        seen: set[str] = set()
        for action in self.actions:
            if action.rule in seen:
                raise ValueError(f"two actions have the same name {action.rule!r}; names must differ")
            seen.add(action.rule)
        return self
