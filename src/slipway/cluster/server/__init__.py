"""HTTP: connections, routing, discovery, OpenAPI, tables, watch streams, exec and port-forward streams."""
