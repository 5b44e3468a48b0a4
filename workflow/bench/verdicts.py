"""May a model's numbers be published? Its contract is checked once for a version of its sources, before its first row.

What was found is kept beside the store, under a hash of all that decides it, so that the other rows of the model only
read it. A model that breaks its contract gets rows that say how, and no numbers. Loads no torch.
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from workflow.bench import lock, provenance, registry, supervisor
from workflow.bench.rows import write_atomically
from workflow.bench.settings import Settings
from workflow.bench.sources import content_hash, reachable

INSPECTOR = (sys.executable, "-m", "workflow.bench.inspector")
TIME_LIMIT_S = 900
BREAKS = "breaks its contract: "


@dataclass(frozen=True)
class Verdict:
    """`status` ok, or that of the rows which stand for the refused numbers (error, if the model breaks its contract),
    with the reason."""

    status: str
    reason: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the model may be measured."""
        return self.status == "ok"

    @property
    def final(self) -> bool:
        """Whether a second check would find the same: nothing but its time stopped this one."""
        return self.ok or self.status == "timeout" or (self.reason or "").startswith(BREAKS)


def of(settings: Settings, folder: Path, scratch: Path, inspector: Sequence[str] = INSPECTOR) -> Verdict:
    """The verdict on a cell's model and mixer settings, from `folder` or by a check in a process of its own, which
    works in `scratch`. Raises InputError for a bad mixer setting."""
    name = registry.info(settings.model).name
    path = folder / "contracts" / f"{name}-{key(settings.model, json.dumps(settings.mixer, sort_keys=True))}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock.alone(path.with_suffix(".lock")):
        found = _read(path)
        if found is None:
            found = _check(settings, scratch, inspector)
            if found.status == "timeout":
                found = Verdict(found.status, f"{found.reason}. To check it again, delete {path}")
            if found.final:
                write_atomically(path, json.dumps(asdict(found), ensure_ascii=False))
    return found


@functools.cache
def key(model: str, mixer: str = "{}") -> str:
    """16 hexadecimal digits over what decides: sources and entry of the model, its mixer's settings (JSON), the
    contract's sources, versions."""
    contract = reachable(["workflow.bench.measure.contract"], ("workflow",), without=provenance.PLUMBING)
    versions = {name: text for name, text in provenance.versions().items() if name != "platform"}
    decisive = (repr(registry.info(model)), mixer, inspect.getsource(registry.build), repr(sorted(versions.items())))
    return content_hash(sorted({*registry.sources(model), *contract}), *decisive)


def _check(settings: Settings, scratch: Path, inspector: Sequence[str]) -> Verdict:
    scratch.mkdir(parents=True)
    cell = Settings("complexity", settings.model, threads=1, timeout_s=TIME_LIMIT_S, mixer=settings.mixer)
    status, reason = supervisor.judge(supervisor.execute(cell, scratch, inspector), cell)
    supervisor.raise_bad_input(reason)
    if status in ("ok", "broken"):
        return Verdict("ok") if status == "ok" else Verdict("error", f"{BREAKS}{reason}")
    return Verdict(status, f"its contract could not be checked: {reason}")


def _read(path: Path) -> Verdict | None:
    try:
        return Verdict(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
