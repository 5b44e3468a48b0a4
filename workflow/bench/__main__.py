"""python -m workflow.bench: the same as `pointer-bench`."""

import sys

try:
    from workflow.bench.cli import main
except ModuleNotFoundError as error:
    lacking = f"this Python lacks the package {error.name!r}; constraints.txt has its version"
    print(f"pointer-bench: {lacking}", file=sys.stderr)
    sys.exit(2)

sys.exit(main())
