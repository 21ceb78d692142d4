"""What kubectl's tables show of each built-in kind: columns.json names the columns, small functions make the
cells that are more than one field."""

from slipway.cluster.server.printers import cluster, network, storage, workloads
from slipway.cluster.server.printers.columns import Column, columns_of

__all__ = ["Column", "cluster", "columns_of", "network", "storage", "workloads"]
