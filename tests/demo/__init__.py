"""The demo: one real scenario for each part that exists, played on an embedded cluster, printed as it happens."""
