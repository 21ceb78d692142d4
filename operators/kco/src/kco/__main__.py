"""`python -m kco` is the command `kco`."""

import sys

from kco.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
