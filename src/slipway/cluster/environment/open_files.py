"""How many files this process may open: each connection takes one, and a shell's default is only 1024."""

from __future__ import annotations

import resource
import sys

ENOUGH = 4096
_MOST = 1_048_576  # as containers have it; some systems say "unlimited" and mean less
_MACOS = 10_240  # OPEN_MAX, which macOS does not let a process exceed


def raise_limit() -> int:
    """Raise the soft limit as far as the hard one lets us, never lower it; the limit that holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MACOS if sys.platform == "darwin" else _MOST
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted
