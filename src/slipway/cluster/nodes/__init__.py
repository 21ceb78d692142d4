"""Nodes that run pods: simulated, as local processes, or in Linux namespaces."""
