"""What becomes of unknown and repeated fields of a body: refused, warned of, or ignored (`fieldValidation`)."""

from __future__ import annotations

from collections.abc import Sequence

from slipway.cluster.status import StatusError


def report_unknown(unknown: Sequence[str], mode: str, duplicates: Sequence[str] = ()) -> list[str]:
    """The warnings for fields that were dropped; 400 in Strict mode.

    `unknown` holds field paths, `duplicates` paths of fields that came twice.
    """
    texts = [f'duplicate field "{path}"' for path in duplicates]
    texts += [f'unknown field "{path}"' for path in unknown]
    return report(texts, mode)


def report(texts: list[str], mode: str) -> list[str]:
    """The same for texts that are worded already."""
    if not texts or mode == "Ignore":
        return []
    if mode == "Strict":
        raise StatusError(400, "BadRequest", f"strict decoding error: {', '.join(texts)}")
    return texts
