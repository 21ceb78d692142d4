"""python -m sungather."""

from __future__ import annotations

import sys

from sungather.cli import main

sys.exit(main())
