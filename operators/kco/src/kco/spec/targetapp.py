"""The fields of a TargetApp and their bounds, as `spec` of `operator.kco.local/v1alpha1` has them.

`read(spec)` gives a `TargetAppSpec` or raises `InvalidSpec`, whose problems each name the field, the value
and what is allowed. Whether the GraphQL text is acceptable is `spec.document`'s question, whether the
action's parameters are is the action handler's.
"""

import hashlib
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from kco.spec.duration import Duration
from kco.spec.path import FieldPath, parse_path

GROUP, VERSION = "operator.kco.local", "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

Condition = Literal[
    "equals",
    "not_equals",
    "greater_than",
    "greater_or_equal",
    "less_than",
    "less_or_equal",
    "contains",
    "in",
    "matches",
    "exists",
    "not_exists",
    "changed",
    "predicted",
]
WITHOUT_VALUE = ("exists", "not_exists", "changed", "predicted")
NUMERIC = ("greater_than", "greater_or_equal", "less_than", "less_or_equal")
MAX_ACTIONS = 100

Name = Annotated[str, Field(min_length=1, max_length=253)]


class InvalidSpec(Exception):
    """A TargetApp that cannot be used; `problems` are for people, one per line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(
            "; ".join(problems[:5]) + (f" (and {len(problems) - 5} more)" if len(problems) > 5 else "")
        )
        self.problems = problems


class _Part(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True
    )


class KeyRef(_Part):
    """One key of a Secret or ConfigMap in the TargetApp's namespace."""

    name: Name
    key: Name


class ValueSource(_Part):
    secret_key_ref: KeyRef | None = None
    config_map_key_ref: KeyRef | None = None

    @model_validator(mode="after")
    def _one(self) -> "ValueSource":
        if (self.secret_key_ref is None) == (self.config_map_key_ref is None):
            raise ValueError("give exactly one of secretKeyRef and configMapKeyRef")
        return self


class Header(_Part):
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


class Requirement(_Part):
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


class Selector(_Part):
    match_labels: dict[str, str] = Field(default_factory=dict)
    match_expressions: list[Requirement] = Field(default_factory=list)

    @property
    def empty(self) -> bool:
        return not self.match_labels and not self.match_expressions


class ServiceReference(_Part):
    """A Service of the TargetApp's namespace, reached by its cluster DNS name."""

    name: Name
    port: Annotated[int, Field(ge=1, le=65535)] = 80
    scheme: Literal["http", "https"] = "http"


class Tls(_Part):
    ca_from: ValueSource | None = None
    client_certificate_secret: Name | None = None
    insecure_skip_verify: bool = False
    server_name: Name | None = None


class Prediction(_Part):
    """For `condition: predicted`: will the field pass `threshold` within `horizon`?"""

    threshold: float
    direction: Literal["above", "below"] = "above"
    horizon: Duration
    confidence: Annotated[float, Field(ge=0.5, le=0.999)] = 0.8


class Trigger(_Part):
    """One comparison, or `all`/`any` of several."""

    field: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    condition: Condition | None = None
    value: Any = None
    clear: float | None = None
    match: Literal["any", "all"] = "any"
    prediction: Prediction | None = None
    all: list["Trigger"] = Field(default_factory=list, max_length=20)
    any: list["Trigger"] = Field(default_factory=list, max_length=20)

    @field_validator("field")
    @classmethod
    def _path_parses(cls, text: str | None) -> str | None:
        if text is not None:
            parse_path(text)
        return text

    @model_validator(mode="after")
    def _one_form(self) -> "Trigger":
        forms = [bool(self.all), bool(self.any), self.field is not None or self.condition is not None]
        if sum(forms) != 1:
            raise ValueError("give exactly one of: field with condition, all, any")
        if self.all or self.any:
            return self
        if self.field is None or self.condition is None:
            raise ValueError("field and condition are both needed")
        given = "value" in self.model_fields_set
        if not given and self.condition not in WITHOUT_VALUE:
            raise ValueError(f"condition {self.condition} needs a value")
        if self.condition in NUMERIC and (
            isinstance(self.value, bool) or not isinstance(self.value, int | float)
        ):
            raise ValueError(f"condition {self.condition} needs a number as value, not {self.value!r:.60}")
        if self.condition == "in" and not isinstance(self.value, list):
            raise ValueError("condition in needs a list as value")
        if self.condition == "matches":
            _check_pattern(self.value)
        if (self.condition == "predicted") != (self.prediction is not None):
            raise ValueError("condition predicted and the block prediction belong together")
        if self.clear is not None:
            self._check_clear()
        return self

    def _check_clear(self) -> None:
        if self.condition not in NUMERIC:
            raise ValueError("clear is for greater_than, greater_or_equal, less_than and less_or_equal")
        assert self.clear is not None
        if str(self.condition).startswith("greater") and self.clear > self.value:
            raise ValueError(f"clear must be at most value ({self.value}) for {self.condition}")
        if str(self.condition).startswith("less") and self.clear < self.value:
            raise ValueError(f"clear must be at least value ({self.value}) for {self.condition}")

    def leaves(self) -> "list[Trigger]":
        """The comparisons, in order of writing."""
        inner = [*self.all, *self.any]
        return [leaf for part in inner for leaf in part.leaves()] if inner else [self]

    def path(self) -> FieldPath:
        assert self.field is not None
        return parse_path(self.field)


class Retry(_Part):
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    backoff: Duration = 5.0


class Breaker(_Part):
    """After `failures` failed runs in a row the rule is held back for `reset_after`."""

    failures: Annotated[int, Field(ge=1, le=100)] = 3
    reset_after: Duration = 3600.0


class Action(_Part):
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")] | None = None
    trigger: Trigger
    action: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
    parameters: dict[str, Any] = Field(default_factory=dict)
    for_: Duration = Field(default=0.0, alias="for")
    cooldown: Duration = 0.0
    max_per_hour: Annotated[int, Field(ge=1, le=3600)] | None = None
    repeat_every: Duration | None = None
    timeout: Duration | None = None
    idempotent: bool = False
    retry: Retry = Retry()
    breaker: Breaker = Breaker()

    @field_validator("repeat_every", "timeout")
    @classmethod
    def _positive(cls, seconds: float | None) -> float | None:
        if seconds is not None and seconds < 1:
            raise ValueError("must be at least one second")
        return seconds

    @property
    def fingerprint(self) -> str:
        """Changes when anything that decides about firing or acting changes; the rule then starts afresh."""
        content = self.model_dump(mode="json", by_alias=True, exclude={"name"})
        return hashlib.blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=6).hexdigest()

    @property
    def rule(self) -> str:
        """The rule's name: as given, else from its content, so that reordering the list changes nothing."""
        return self.name or f"{self.action.lower().replace('_', '-').replace('.', '-')}-{self.fingerprint}"


class Severity(_Part):
    """Events about this field (and value, where given) have this type."""

    field: str
    value: Any = None
    type: Literal["Normal", "Warning"]


class EventRules(_Part):
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


class StateMetric(_Part):
    """A state field as a Prometheus series: numbers and booleans as they are, enums as one series per value."""

    field: str
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    values: list[str] = Field(default_factory=list, max_length=32)

    @field_validator("field")
    @classmethod
    def _path_parses(cls, text: str) -> str:
        parse_path(text)
        return text


class Subscription(_Part):
    """State by graphql-transport-ws; polling goes on as fallback while the socket is down."""

    query: Annotated[str, Field(min_length=1, max_length=65536)]
    path: str | None = None


class ClusterReference(_Part):
    """The cluster that the application runs in, where it is not this one: a kubeconfig in a Secret."""

    secret_key_ref: KeyRef


# Shared by all that say nothing: pydantic would copy a default that holds lists for each of a thousand specs.
NO_SELECTOR, NO_EVENT_RULES = Selector(), EventRules()


class TargetAppSpec(_Part):
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
    actions: list[Action] = Field(default_factory=list, max_length=MAX_ACTIONS)

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


def read(spec: Any) -> TargetAppSpec:
    """Check the fields of one TargetApp's `spec`."""
    if not isinstance(spec, dict):
        raise InvalidSpec([f"spec: must be an object, not {_kind(spec)}"])
    given = spec.get("actions")
    if isinstance(given, list) and len(given) > MAX_ACTIONS:
        raise InvalidSpec([f"spec.actions: {len(given)} actions; at most {MAX_ACTIONS} are allowed"])
    try:
        return _lean(TargetAppSpec.model_validate(_without_nulls(spec)))
    except ValidationError as failure:
        raise InvalidSpec([_problem(error) for error in failure.errors()]) from None
    except RecursionError:
        raise InvalidSpec(["spec: nested too deeply"]) from None


_same_fields: dict[frozenset[str], set[str]] = {}


def _lean(part: TargetAppSpec) -> TargetAppSpec:
    """Let all parts that name the same fields share one set of their names: a tenth of what a target takes."""
    waiting: list[Any] = [part]
    while waiting:
        found = waiting.pop()
        if isinstance(found, _Part):
            named = frozenset(found.model_fields_set)
            if named in _same_fields or len(_same_fields) < 1000:
                object.__setattr__(
                    found, "__pydantic_fields_set__", _same_fields.setdefault(named, set(named))
                )
            waiting += found.__dict__.values()
        elif isinstance(found, list):
            waiting += found
    return part


def _without_nulls(value: Any, key: str = "") -> Any:
    """Absent and null are the same to Kubernetes, except below `value`, `parameters` and `variables`."""
    if key in ("value", "parameters", "variables"):
        return value
    if isinstance(value, dict):
        kept = {name: _without_nulls(item, name) for name, item in value.items()}
        return {name: item for name, item in kept.items() if item is not None or name == "value"}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _problem(error: Any) -> str:
    place = "spec"
    for step in error["loc"]:
        place += f"[{step}]" if isinstance(step, int) else f".{step}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "unknown field"
    elif error["type"] == "missing":
        message = "is needed and missing"
    elif error["type"] != "value_error" and not isinstance(error.get("input"), dict | list):
        message += f" (got {str(error.get('input'))[:60]!r})"
    return f"{place}: {message}"


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "boolean", list: "list", dict: "object", str: "string"}
    return names.get(type(value), "number")


def _check_pattern(value: Any) -> None:
    import re2

    if not isinstance(value, str) or len(value) > 1024:
        raise ValueError("condition matches needs a regular expression of at most 1024 characters as value")
    try:
        re2.compile(value)
    except re2.error as failure:
        raise ValueError(f"value {value[:60]!r} is not a regular expression (RE2): {failure}") from None
