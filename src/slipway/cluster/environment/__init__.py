"""Start and stop a whole cluster, hand out kubeconfigs, pytest fixtures, virtual time."""
