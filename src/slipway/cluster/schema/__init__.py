"""Kinds and their schemas: what the API serves, how each object is shaped, defaulted, pruned and validated."""
