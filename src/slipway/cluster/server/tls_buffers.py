"""Makes asyncio's TLS connections small: each keeps a read buffer of 256 KiB for as long as it lives, which a
thousand idle watches would multiply to a quarter of a gigabyte.

The buffer is asyncio's own business (CPython 3.11 to 3.14 have it under these names); where it is not found,
nothing is changed.
"""

from __future__ import annotations

import asyncio
from typing import Any

READ_BUFFER = 20 * 1024  # a TLS record is at most 16 KiB and its overhead


def shrink_tls_buffer(transport: asyncio.BaseTransport) -> None:
    """Give a connection that has just shaken hands a read buffer of one record."""
    protocol: Any = getattr(transport, "_ssl_protocol", None)
    if hasattr(protocol, "_ssl_buffer") and hasattr(protocol, "_ssl_buffer_view"):
        protocol.max_size = READ_BUFFER
        protocol._ssl_buffer = bytearray(READ_BUFFER)
        protocol._ssl_buffer_view = memoryview(protocol._ssl_buffer)
