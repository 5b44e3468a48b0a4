"""The store of finished rows: what was measured once is not measured again, whatever happens to Snakemake's outputs.

Snakemake deletes outputs of jobs that it thinks were interrupted; it knows nothing of the store. A row is found again
by the hash of its settings and the hash of the sources that made it, so an edited mixer finds nothing.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from workflow.bench import lock, provenance
from workflow.bench.rows import Row, RowError, read_row, write_row
from workflow.bench.settings import Settings

REUSED = ("ok", "oom", "unsupported", "diverged")  # an error or a timeout is tried again


@dataclass(frozen=True)
class Store:
    """Rows by settings and sources in one folder, with the files that belong to them."""

    folder: Path

    def path(self, settings: Settings) -> Path:
        """<settings hash>-<source hash>.json"""
        return self.folder / f"{settings.key()}-{provenance.sources_of(settings)}.json"

    @contextmanager
    def claim(self, settings: Settings) -> Iterator[None]:
        """Only one process at a time measures a cell; the next finds its row. A claim ends with its process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with lock.alone(self.path(settings).with_suffix(".lock")):
            yield

    @contextmanager
    def work(self, settings: Settings) -> Iterator[Path]:
        """A folder for what the worker of a cell leaves; folders in it, such as a checkpoint, outlive a killed process.

        Call `done` on the cell once its row is there.
        """
        folder = self._work(settings)
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if not path.is_dir():
                path.unlink()
        try:
            yield folder
        finally:
            if folder.is_dir() and not any(path.is_dir() for path in folder.iterdir()):
                shutil.rmtree(folder)

    def done(self, settings: Settings) -> None:
        """Drops what was kept of a cell's training."""
        shutil.rmtree(self._work(settings), ignore_errors=True)

    def _work(self, settings: Settings) -> Path:
        return self.path(settings).with_suffix(".work")

    def find(self, settings: Settings) -> Row | None:
        """The finished row of a cell, if there is one that can be trusted."""
        try:
            row = read_row(self.path(settings))
        except RowError:
            return None
        return row if row["status"] in REUSED else None

    def earlier(self, settings: Settings) -> Row | None:
        """The newest row of a cell by whatever sources: good enough to estimate its time."""
        newest = self._newest.get(settings.key())
        try:
            return read_row(newest) if newest else None
        except RowError:
            return None

    @cached_property
    def _newest(self) -> dict[str, Path]:
        """Settings hash -> the newest row with it; the folder is listed once, however many cells ask."""
        paths = sorted(self.folder.glob(f"{'?' * 16}-{'?' * 16}.json"), key=lambda path: path.stat().st_mtime)
        return {path.name[:16]: path for path in paths}


def save(row: Row, files: Path, path: Path) -> Row:
    """Seals `row` at `path`, after the files that it names: <kind>.<ending> in `files` becomes
    <row's name>.<kind>.<ending> beside it. The row holds their hashes, so that its digest seals them too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    named: dict[str, str] = row["files"] or {}
    for name in named.values():
        shutil.copyfile(files / name, attachment(path, name))
    hashes = {kind: file_hash(attachment(path, name)) for kind, name in named.items()}
    return write_row(path, {**row, "files_sha256": hashes or None})


def publish(path: Path, out: Path) -> Row:
    """A stored row and its files, copied to `out`."""
    row = read_row(path)
    out.parent.mkdir(parents=True, exist_ok=True)
    for name in (row["files"] or {}).values():
        shutil.copyfile(attachment(path, name), attachment(out, name))
    return write_row(out, row)


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def names_row(path: Path) -> bool:
    """Whether a file is a row: what lies beside one has a second ending (`attachment`)."""
    return path.suffixes == [".json"]


def attachment(path: Path, name: str) -> Path:
    """Where a row's file lies: d512-s0-1234.json has its weights.safetensors in d512-s0-1234.weights.safetensors."""
    return path.with_name(f"{path.stem}.{name}")
