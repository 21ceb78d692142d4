"""What a test makes the API server do wrong: rules that say which requests are hit, and by what.

`effects` are the wrongs, of the kinds that a real API server and its network commit; `rules` say whom they hit and how
often; `injection.Faults` wraps the one handler that every request passes. `cluster.faults.add(effect, …)` is the way
in; docs/how-to/break-the-api-server.md shows it.
"""

from slipway.cluster.faults.effects import (
    Delay,
    Disconnect,
    Effect,
    EndWatch,
    LateEvents,
    Refuse,
    StaleLists,
    Struck,
)
from slipway.cluster.faults.injection import Faults
from slipway.cluster.faults.rules import FaultError, Hit, Rule

__all__ = [
    "Delay",
    "Disconnect",
    "Effect",
    "EndWatch",
    "FaultError",
    "Faults",
    "Hit",
    "LateEvents",
    "Refuse",
    "Rule",
    "StaleLists",
    "Struck",
]
