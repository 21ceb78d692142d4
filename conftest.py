"""How property tests search: the same examples at every run, and no judgement by the clock of a busy machine.

`pytest --hypothesis-profile=search` looks for new ones; what it finds becomes a test, or an `@example`.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings

UNHURRIED: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}

settings.register_profile("steady", derandomize=True, database=None, **UNHURRIED)
settings.register_profile("search", print_blob=True, **UNHURRIED)
settings.load_profile("steady")
