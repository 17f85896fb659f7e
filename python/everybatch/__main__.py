"""`python -m everybatch` is the command line."""

import sys

from everybatch.cli import main

sys.exit(main())
