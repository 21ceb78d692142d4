"""What the operators share: clock, settings, logging, metrics and health server, Kubernetes client, leases.

An operator's process starts with `settings` (environment to a checked model), turns on `logging`, opens a
`kube.client`, takes part in `kube.lease` (who acts) and serves `exposition` (health and metrics).
"""
