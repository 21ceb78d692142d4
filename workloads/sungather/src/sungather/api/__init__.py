"""The local API and web page: what the owner, Prometheus and the charm ask the running collector."""
