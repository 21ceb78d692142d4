"""Slipway: a place where Kubernetes operators written in Python are built, tried, tested and launched."""

__version__ = "0.1.0"
