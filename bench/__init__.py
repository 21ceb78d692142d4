"""Benchmarks: each module prints a ratio against a peer that was measured in the same run, the figure last."""
