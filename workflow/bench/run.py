"""A row, from the store or measured now, and the sentence that tells of it."""

from __future__ import annotations

from pathlib import Path

from workflow.bench.rows import Row
from workflow.bench.settings import Settings

STORE = "results/.store"


def measure(settings: Settings, scratch: Path, out: Path | None, folder: Path | None) -> Row:
    """The sealed row of a cell, from the store or measured now; written to the store first, then to `out`.

    A model that breaks its contract is not measured, whatever the store has.
    """
    from workflow.bench import store, supervisor, verdicts

    kept = store.Store(folder or scratch / "store")
    with kept.claim(settings), kept.work(settings) as files:
        verdict = verdicts.of(settings, verdict_folder(folder, kept.folder), scratch / "contract")
        row = kept.find(settings) if verdict.ok else None
        if row is None:
            refused = None if verdict.ok else supervisor.refused(settings, verdict.status, verdict.reason)
            row = store.save(refused or supervisor.run(settings, files), files, kept.path(settings))
            if row["status"] != "timeout":  # which goes on where it was when it is tried again
                kept.done(settings)
        return row if out is None else store.publish(kept.path(settings), out)


def verdict_folder(asked: Path | None, own: Path) -> Path:
    """Where verdicts on contracts are kept: beside the rows' store; a row made by hand shares the pipeline's."""
    return Path(STORE) if asked is None and Path(STORE).is_dir() else own


def outcome(row: Row) -> str:
    """One line on a row: what it is, how it ended, its main figure."""
    size = f"D={row['distance']}" if row["distance"] else f"N={row['length']}"
    sizes = [f"{name}={row[name]}" for name in ("pairs", "items", "hops", "letters") if row[name]]
    size = ", ".join([*sizes, size])
    figures = {
        "bits_per_byte": "{:.3f} bits a byte",
        "accuracy": "accuracy {:.4f}",
        "step_ms": "step {:.1f} ms",
        "flops_step": "step {:.3g} FLOPs",
    }
    shown = [text.format(row[key]) for key, text in figures.items() if row[key] is not None][:1]
    ending = row["status"] if row["status"] == "ok" else f"{row['status']} ({row['reason']})"
    return ", ".join([f"{row['experiment']} {row['model']} {size} {row['device']}: {ending}", *shown])
