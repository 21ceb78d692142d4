"""Every object under one growing revision: transactions, history, watches; in memory or in SQLite.

In: `Store.commit` with puts and deletes. It checks what each expects to find, gives the transaction the next
revision, writes the journal (`journal`, if there is one), then changes the buckets (`bucket`), which keep the
present records and the changes that led to them (`history`), equal parts once (`sharing`). Out: `Store.get`,
`Store.scan` at the present or an earlier revision, and `Watch`, a cursor over a bucket's changes. The store knows
nothing of HTTP or kinds.
"""

from slipway.cluster.store.bucket import Bucket
from slipway.cluster.store.history import Change, Compacted, Record, Route
from slipway.cluster.store.store import Conflict, Delete, Page, Put, Snapshot, Store
from slipway.cluster.store.watch import Watch

__all__ = [
    "Bucket",
    "Change",
    "Compacted",
    "Conflict",
    "Delete",
    "Page",
    "Put",
    "Record",
    "Route",
    "Snapshot",
    "Store",
    "Watch",
]
