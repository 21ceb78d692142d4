"""What every part of a TargetApp's `spec` is: a strict, frozen model whose fields are written in camelCase.

There are thousands of them. `lean` lets parts share what they would each have of their own, and takes out of them
what was not given: `Part` finds the defaults in its class.
"""

import sys
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Name = Annotated[str, Field(min_length=1, max_length=253)]
AnyPart = TypeVar("AnyPart", bound="Part")


class Part(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True
    )

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            defaults = _defaults.get(type(self), {})
            return defaults[name] if name in defaults else super().__getattr__(name)


_defaults: dict[type[Part], dict[str, Any]] = {}
_names: dict[frozenset[str], set[str]] = {}


def lean(part: AnyPart) -> AnyPart:
    """The same part in half the memory. It must not be dumped afterwards."""
    waiting: list[Any] = [part]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Part):
            _slim(found)
            waiting += found.__dict__.values()
        elif isinstance(found, list):
            waiting += found
    return part


def _slim(part: Part) -> None:
    kind = type(part)
    defaults = _defaults.get(kind)
    if defaults is None:
        defaults = _defaults[kind] = {
            name: info.get_default(call_default_factory=True)
            for name, info in kind.model_fields.items()
            if not info.is_required()
        }
    kept = {
        name: _common(value)
        for name, value in part.__dict__.items()
        if not _is_default(name, value, defaults)
    }
    object.__setattr__(part, "__dict__", kept)
    share_names(part)


def share_names(model: BaseModel) -> None:
    """Let all models that were given the same fields have one set of the fields' names."""
    named = frozenset(model.model_fields_set)
    if named in _names or len(_names) < 1000:
        object.__setattr__(model, "__pydantic_fields_set__", _names.setdefault(named, set(named)))


def _is_default(name: str, value: Any, defaults: dict[str, Any]) -> bool:
    # True is no 1 here, and 1.0 neither.
    return name in defaults and type(value) is type(defaults[name]) and bool(value == defaults[name])


def _common(value: Any) -> Any:
    return sys.intern(value) if type(value) is str and len(value) > 20 else value
