"""python -m workflow.bench: the same as `pointer-bench`."""

import sys

try:
    from workflow.bench.cli import main
except ModuleNotFoundError as error:
    print(
        f"pointer-bench: the package {error.name!r} is missing; constraints.txt has its version",
        file=sys.stderr,
    )
    sys.exit(2)

sys.exit(main())
