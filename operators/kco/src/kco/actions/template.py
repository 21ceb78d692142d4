"""`{{ path }}` in the strings of a payload, filled with values of the state.

Filling is done on parsed values, never on serialized JSON: whatever the state holds stays inside its own
string. A string that is one placeholder and nothing else becomes the value itself, with its JSON type.
"""

import re
from collections.abc import Mapping
from typing import Any

from kco.spec.path import parse_path
from kco.state.value import MISSING, show, values_at

_PLACE = re.compile(r"\{\{\s*([A-Za-z_@][A-Za-z0-9_.\[\]*@]*)\s*\}\}")
MAX_TEXT = 8192


def fill(template: Any, state: Any, words: Mapping[str, str]) -> Any:
    """A payload with its placeholders filled; `words` are names such as tapp_name that win over state fields."""
    if isinstance(template, dict):
        return {fill_text(key, state, words): fill(item, state, words) for key, item in template.items()}
    if isinstance(template, list):
        return [fill(item, state, words) for item in template]
    if not isinstance(template, str):
        return template
    whole = _PLACE.fullmatch(template)
    if whole is not None:
        value = _value(whole.group(1), state, words)
        return None if value is MISSING else value
    return fill_text(template, state, words)


def fill_text(template: str, state: Any, words: Mapping[str, str]) -> str:
    """A string with its placeholders filled as text; a missing value is the empty string."""

    def spell(found: re.Match[str]) -> str:
        value = _value(found.group(1), state, words)
        return "" if value is MISSING else show(value, MAX_TEXT)

    return _PLACE.sub(spell, template)


def _value(name: str, state: Any, words: Mapping[str, str]) -> Any:
    if name in words:
        return words[name]
    try:
        found = values_at(state, parse_path(name))
    except ValueError:
        return MISSING
    return found[0] if len(found) == 1 else (found or MISSING)
