"""python -m workflow.bench: the same as `pointer-bench`."""

import sys

try:
    from workflow.bench.cli import main
except ModuleNotFoundError as error:
    print(
        f"pointer-bench: this Python lacks the package {error.name!r}; constraints.txt has its version", file=sys.stderr
    )
    sys.exit(2)

sys.exit(main())
