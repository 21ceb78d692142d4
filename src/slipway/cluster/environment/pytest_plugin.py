"""pytest fixtures; filled in by the environment floor."""
