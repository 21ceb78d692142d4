"""Environment variables to a checked settings model, under a prefixed and a plain name each.

`load(Settings, prefix="KCO_", environment=os.environ)` reads `KCO_LOG_LEVEL` first, then `LOG_LEVEL`, then
the field's default. A field named `log_level` is the variable `LOG_LEVEL`. Fields whose
`json_schema_extra` holds `"prefixed_only": True` are read under the prefixed name only (for words such as
`NAMESPACE` that other programs set too).
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

Model = TypeVar("Model", bound=BaseModel)


class SettingsError(Exception):
    """One variable that cannot be used: its name, its value, and what is allowed."""

    def __init__(self, variable: str, value: str, allowed: str) -> None:
        super().__init__(f"{variable}={value!r} cannot be used: {allowed}")
        self.variable = variable
        self.value = value
        self.allowed = allowed


def variables(model: type[BaseModel], prefix: str) -> dict[str, tuple[str, ...]]:
    """Field name to the variables that set it, the one that wins first."""
    names: dict[str, tuple[str, ...]] = {}
    for field_name, field in model.model_fields.items():
        plain = field_name.upper()
        names[field_name] = (prefix + plain,) if _prefixed_only(field) else (prefix + plain, plain)
    return names


def load(model: type[Model], *, prefix: str, environment: Mapping[str, str]) -> Model:
    """Read a settings model from the environment, or raise `SettingsError` for the first bad variable."""
    given: dict[str, str] = {}
    origin: dict[str, str] = {}
    for field_name, names in variables(model, prefix).items():
        for name in names:
            # An empty variable counts as not set: a ConfigMap cannot leave a key out conditionally.
            if environment.get(name):
                given[field_name] = environment[name]
                origin[field_name] = name
                break
    try:
        return model.model_validate(given)
    except ValidationError as failure:
        first = failure.errors()[0]
        field_name = str(first["loc"][0]) if first["loc"] else ""
        variable = origin.get(field_name, prefix + field_name.upper())
        allowed = f"{first['msg']}{_bounds(model.model_fields.get(field_name))}"
        raise SettingsError(variable, given.get(field_name, ""), allowed) from None


def _prefixed_only(field: FieldInfo) -> bool:
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("prefixed_only"))


def _bounds(field: FieldInfo | None) -> str:
    if field is None:
        return ""
    found: dict[str, Any] = {}
    for rule in field.metadata:
        for bound in ("ge", "le", "gt", "lt"):
            if hasattr(rule, bound):
                found[bound] = getattr(rule, bound)
    if "ge" in found and "le" in found:
        return f" (allowed: {found['ge']} to {found['le']})"
    return ""
