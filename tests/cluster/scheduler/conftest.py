"""The same `play` as the controllers' tests have."""

import importlib.util
from pathlib import Path

_path = Path(__file__).parent.parent / "controllers" / "conftest.py"
_spec = importlib.util.spec_from_file_location("controllers_conftest", _path)
assert _spec
assert _spec.loader
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
play = _module.play
