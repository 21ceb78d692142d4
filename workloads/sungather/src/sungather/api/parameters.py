"""Reading an action's parameters: query strings and JSON bodies alike, unknown ones refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sungather.errors import SungatherError


class ActionError(SungatherError):
    """The action was not done; str() says what to do."""

    def __init__(self, text: str, status: int = 400) -> None:
        self.status = status
        super().__init__(text)


class Parameters:
    """The given parameters; each getter names what is allowed when a value does not fit."""

    def __init__(self, given: Mapping[str, Any], *allowed: str) -> None:
        unknown = sorted(set(given) - set(allowed))
        if unknown:
            raise ActionError(
                f"unknown parameter {', '.join(unknown)}; allowed: {', '.join(allowed) or 'none'}"
            )
        self._given = given

    def text(self, name: str, default: str = "", *, choices: tuple[str, ...] = ()) -> str:
        value = self._given.get(name, default)
        if not isinstance(value, str):
            raise ActionError(f"{name} must be text, not {value!r}")
        if choices and value not in choices:
            raise ActionError(f"{name} is {value!r}, allowed: {', '.join(choices)}")
        return value

    def names(self, name: str) -> list[str]:
        """A list of texts, or a text separated by commas."""
        value = self._given.get(name) or []
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise ActionError(f"{name} must be a list of texts, not {value!r}")
        return value

    def number(self, name: str, default: float | None, low: float, high: float) -> float:
        value = self._given.get(name, default)
        if value is None:
            raise ActionError(f"{name} is required ({low:g} to {high:g})")
        try:
            found = float(value)
        except (TypeError, ValueError, OverflowError):
            raise ActionError(f"{name} must be a number, not {value!r}") from None
        if isinstance(value, bool) or not low <= found <= high:
            raise ActionError(f"{name} is {value}, allowed: {low:g} to {high:g}")
        return found

    def whole(self, name: str, default: int | None, low: int, high: int) -> int:
        found = self.number(name, default, low, high)
        if found != int(found):
            raise ActionError(f"{name} must be a whole number, not {found}")
        return int(found)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._given.get(name, default)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise ActionError(f"{name} must be true or false, not {value!r}")
        return value

    def __contains__(self, name: str) -> bool:
        return name in self._given
