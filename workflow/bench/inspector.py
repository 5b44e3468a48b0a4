"""The process that checks a cell's contract: `python -m workflow.bench.inspector SETTINGS.json RESULT.json`.

Started by `workflow/bench/verdicts.py` as the worker is by the supervisor: it waits while a timing row runs, before it
imports torch, and writes a JSON object with `status` (ok; broken: the model breaks its contract; error: a setting of
its mixer is bad) and `reason`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pointer.errors import InputError
from workflow.bench import lock
from workflow.bench.settings import from_dict
from workflow.bench.worker import failure


def main(argv: Sequence[str] | None = None) -> int:
    """Checks the model of a cell; see the module."""
    settings_path, result_path = (Path(arg) for arg in (argv if argv is not None else sys.argv[1:]))
    settings = from_dict(json.loads(settings_path.read_text(encoding="utf-8")))
    with lock.hold(exclusive=False, result=result_path):
        import torch

        from workflow.bench.measure import contract

        torch.set_num_threads(settings.resolved().threads)
        try:
            broken = contract.reason(contract.check(settings.model, settings.mixer))
            result = {"status": "broken", "reason": broken} if broken else {"status": "ok"}
        except InputError as error:
            result = failure(error)
    result_path.write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
