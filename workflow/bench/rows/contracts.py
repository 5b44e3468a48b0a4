"""Check a model's contract in a child process, and keep the verdict in a file. It holds for the
sources that its `key` is a hash of. A check that could not be made on this machine (memory, disk, a
missing package) is no verdict: EnvironmentFault, and nothing is kept."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pointer.errors import InputError
from workflow.bench import registry
from workflow.bench.outcomes import EnvironmentFault
from workflow.bench.rows import child, provenance, write_atomically
from workflow.bench.sources import content_hash

FOLDER = Path("results/contracts")
TIME_LIMIT_S = 900


@dataclass(frozen=True)
class Verdict:
    """What the checks found; `status` is ok, error (a check failed) or timeout."""

    model: str
    mixer: dict[str, Any]
    key: str
    status: str
    checks: list[tuple[str, bool, str]]

    @property
    def reason(self) -> str:
        """Why no number of the model is published; empty where its numbers may be."""
        if self.status == "timeout":
            return f"its contract took longer to check than {TIME_LIMIT_S} s"
        failed = [f"{name}: {reason}" for name, passed, reason in self.checks if not passed]
        return f"fails the contract: {'; '.join(failed)}" if failed else ""


def path(model: str, mixer: Mapping[str, Any]) -> Path:
    """Return where the pipeline keeps a verdict: results/contracts/<model>[-<variant>].json."""
    name = registry.info(model).name + registry.CONVOLUTIONS[registry.without_ending(model)[1]]
    variant = hashlib.sha256(_text(mixer).encode()).hexdigest()[:8]
    return FOLDER / (f"{name}-{variant}.json" if mixer else f"{name}.json")


def place(model: str, mixer: Mapping[str, Any], folder: Path) -> Path:
    """Return where a verdict is kept: with the pipeline's, or in `folder` where none has worked."""
    return path(model, mixer) if FOLDER.parent.is_dir() else folder / "contract.json"


def verdict(
    model: str,
    mixer: Mapping[str, Any],
    file: Path,
    folder: Path,
    stdout: int | None = child.STDERR,
) -> Verdict:
    """Return the verdict in `file` if it is of today's sources, else write it there: by a child
    process, which works in `folder` and prints a line a check."""
    before = known(model, mixer, file)
    if before is not None:
        return before
    request, memory = {"model": model, "mixer": dict(mixer)}, provenance.ram_bytes()
    ending = child.execute(request, folder, TIME_LIMIT_S, memory, stdout)
    status, checks = "timeout", []
    if not ending.timed_out:
        if ending.kind == "bad_input":
            raise InputError(ending.message)
        if ending.kind != "ok":
            raise EnvironmentFault(f"{model}: its contract could not be checked: {ending.message}")
        checks = [(name, passed, reason) for name, passed, reason in ending.result["checks"]]
        status = "ok" if all(passed for _, passed, _ in checks) else "error"
    made = Verdict(model, dict(mixer), key(model, _text(mixer)), status, checks)
    write_atomically(file, json.dumps(asdict(made), indent=1, ensure_ascii=False) + "\n")
    return made


def known(model: str, mixer: Mapping[str, Any], file: Path) -> Verdict | None:
    """Return the verdict in `file` if it is of today's sources."""
    try:
        found = Verdict(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.key == key(model, _text(mixer)) else None


@functools.cache
def key(model: str, mixer: str) -> str:
    """Return a hash over what decides a verdict: sources, the mixer's settings, versions."""
    versions = [(name, v) for name, v in provenance.versions().items() if name != "platform"]
    checks = content_hash(sorted(provenance.with_imports([provenance.CONTRACT])))
    return provenance.source_hash(model, "efficiency", "", checks, mixer, repr(sorted(versions)))


def _text(mixer: Mapping[str, Any]) -> str:
    return json.dumps(mixer, sort_keys=True)
