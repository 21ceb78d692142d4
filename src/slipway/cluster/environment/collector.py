"""Python's garbage collector while a cluster starts: what is read and made then stays, so there is nothing to collect."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Spares looking through everything again and again, a third of a start. Whoever has it off keeps it off."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if not gc.get_freeze_count():
                # What is there goes to the oldest generation, where it is looked through last and least often.
                gc.freeze()
                gc.unfreeze()
            gc.enable()
