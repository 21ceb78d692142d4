"""Pods in Linux namespaces: own root by overlay, own processes, own network address on a private bridge."""
