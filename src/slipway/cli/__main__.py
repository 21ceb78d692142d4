"""`python -m slipway.cli`: the same as `slipway`."""

import sys

from slipway.cli.main import main

sys.exit(main())
