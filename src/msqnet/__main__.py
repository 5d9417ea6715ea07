"""`python -m msqnet` is the same as `msqnet`."""

from __future__ import annotations

import sys

from msqnet.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
