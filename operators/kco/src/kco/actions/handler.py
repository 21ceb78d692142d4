"""What an action is: its parameters, the permissions that it needs, what it does.

Third parties write a subclass and name it in the entry-point group `kco.actions` (or decorate it with
`register_action` in a module that is imported); no CRD changes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from kco.net.pool import Pool
from kco.spec.part import share_names
from kco.spec.targetapp import TargetAppSpec
from kco.targets.credentials import Credentials
from kco.targets.pods import Pod
from operator_kit.clock import Clock
from operator_kit.kube.client import KubeClient

SUCCEEDED, FAILED, SKIPPED, TIMED_OUT, UNKNOWN = "Succeeded", "Failed", "Skipped", "TimedOut", "Unknown"
PENDING, RUNNING = "Pending", "Running"
FINISHED = (SUCCEEDED, FAILED, SKIPPED, TIMED_OUT, UNKNOWN)


class InvalidParameters(Exception):
    """Parameters that a handler cannot use; one problem per line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Parameters(BaseModel):
    """Base of a handler's parameters: camelCase names, unknown ones refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True
    )


@dataclass(frozen=True)
class Permission:
    """One thing that an action must be allowed to do, as RBAC asks it."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""
    name: str = ""


@dataclass(frozen=True)
class Result:
    """How an attempt ended. `retryable` failures may be tried again by the rule's retry policy."""

    phase: str
    message: str
    output: Mapping[str, Any] = field(default_factory=dict)
    retryable: bool = True


@dataclass(frozen=True)
class Context:
    """Everything that an action may use. `state` is the state that fired the rule."""

    namespace: str
    target: str
    uid: str
    spec: TargetAppSpec
    rule: str
    run: str
    instance: str
    pod: str
    state: Any
    changes: Sequence[Mapping[str, Any]]
    parameters: Any
    client: KubeClient
    pool: Pool
    credentials: Credentials
    clock: Clock
    pods: Callable[[], Sequence[Pod]]
    redact: Callable[[str], str]
    patchable: frozenset[str]
    deadline: float
    correlation_id: str = ""


class ActionHandler(ABC):
    """One kind of action. Instances are shared by all runs and hold no state of a run."""

    name: ClassVar[str]
    parameters: ClassVar[type[Parameters]]

    def read(self, given: Mapping[str, Any]) -> Any:
        """Check parameters; raises `InvalidParameters`."""
        try:
            parameters = self.parameters.model_validate(dict(given))
        except ValidationError as failure:
            raise InvalidParameters([_problem(self.name, error) for error in failure.errors()]) from None
        share_names(parameters)
        return parameters

    def permissions(self, parameters: Any, spec: TargetAppSpec) -> list[Permission]:
        """What the acting identity must be allowed to do; none by default."""
        return []

    async def can_handle(self, context: Context) -> str | None:
        """None, or why there is nothing to do now (the run is then Skipped)."""
        return None

    @abstractmethod
    async def execute(self, context: Context) -> Result:
        """Act. Cancellation means that the time is over: leave nothing half open."""


Handler = TypeVar("Handler", bound=type[ActionHandler])
_registered: dict[str, type[ActionHandler]] = {}


def register_action(name: str) -> Callable[[Handler], Handler]:
    """Class decorator: make a handler known under `name`. Needs no event loop and no import order."""

    def decorate(handler: Handler) -> Handler:
        handler.name = name
        _registered[name] = handler
        return handler

    return decorate


def registered() -> Mapping[str, type[ActionHandler]]:
    """Handlers that decorators have made known so far."""
    return dict(_registered)


def _problem(action: str, error: Any) -> str:
    place = ".".join(str(step) for step in error["loc"]) or "parameters"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"parameters.{place}: action {action} has no such parameter"
    if error["type"] == "missing":
        return f"parameters.{place}: action {action} needs it"
    shown = "" if isinstance(error.get("input"), dict | list) else f" (got {str(error.get('input'))[:60]!r})"
    return f"parameters.{place}: {message}{shown}"
