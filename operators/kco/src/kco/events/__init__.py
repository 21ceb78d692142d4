"""Telling people: what a change is worth saying, in which words, as Kubernetes Events that are never lost."""
