"""The fields of one rule: its trigger, its action, and what holds it back.

Rules that are written alike are one object in memory: a fleet has the same few rules a thousand times.
"""

import hashlib
from functools import cached_property
from typing import Annotated, Any, Literal
from weakref import WeakValueDictionary

import orjson
from pydantic import Field, ValidatorFunctionWrapHandler, WrapValidator, field_validator, model_validator

from kco.spec.duration import Duration
from kco.spec.part import Part
from kco.spec.path import FieldPath, parse_path

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


class Prediction(Part):
    """For `condition: predicted`: will the field pass `threshold` within `horizon`?"""

    threshold: float
    direction: Literal["above", "below"] = "above"
    horizon: Duration
    confidence: Annotated[float, Field(ge=0.5, le=0.999)] = 0.8


class Trigger(Part):
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


class Retry(Part):
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    backoff: Duration = 5.0


class Breaker(Part):
    """After `failures` failed runs in a row the rule is held back for `reset_after`."""

    failures: Annotated[int, Field(ge=1, le=100)] = 3
    reset_after: Duration = 3600.0


class Action(Part):
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

    @cached_property
    def fingerprint(self) -> str:
        """Changes when anything that decides about firing or acting changes; the rule then starts afresh."""
        content = self.model_dump(mode="json", by_alias=True, exclude={"name"})
        return hashlib.blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=6).hexdigest()

    @property
    def rule(self) -> str:
        """The rule's name: as given, else from its content, so that reordering the list changes nothing."""
        return self.name or f"{self.action.lower().replace('_', '-').replace('.', '-')}-{self.fingerprint}"


_rules: WeakValueDictionary[bytes, Action] = WeakValueDictionary()


def _shared(given: Any, check: ValidatorFunctionWrapHandler) -> Action:
    """The rule that was read from the very same text before, while somebody still has it."""
    written = hashlib.blake2b(repr(given).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    known = _rules.get(written)
    if known is None:
        known = check(given)
        assert known.fingerprint, "computed now, while all fields are there"
        _rules[written] = known
    return known


Rule = Annotated[Action, WrapValidator(_shared)]


def _check_pattern(value: Any) -> None:
    import re2

    if not isinstance(value, str) or len(value) > 1024:
        raise ValueError("condition matches needs a regular expression of at most 1024 characters as value")
    try:
        re2.compile(value)
    except re2.error as failure:
        raise ValueError(f"value {value[:60]!r} is not a regular expression (RE2): {failure}") from None
