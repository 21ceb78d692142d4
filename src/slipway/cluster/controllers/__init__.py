"""The controllers of kube-controller-manager, each an ordinary API client."""
