"""The owner's config file: upstream SunGather's format, checked key by key, with additions under `collector:`.

document (YAML with line numbers) -> keys.yaml (what is allowed) -> settings (typed).
"""
