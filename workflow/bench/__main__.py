"""python -m workflow.bench: the same as `pointer-bench`."""

import sys

from workflow.bench.cli import main

sys.exit(main())
