"""The tables, claims and goals of the committed reference rows stay as they are while the code
moves.

To renew the files on purpose: `python -m tests.test_golden`, then read the difference before you
commit it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from workflow.report import LEDGER, claims, estimates, tables
from workflow.report import frame as frame_module

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"


def make(out: Path) -> dict[str, str]:
    """Return name -> CSV text of every table and of the claims, made from results/reference."""
    frame = frame_module.read(ROOT / "results" / "reference")
    frame["path"] = frame["path"].str.removeprefix(f"{ROOT}/")
    tables.write(estimates.build(frame), out / "tables")
    claims.write(frame, out, "", LEDGER)
    return {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted((out / "tables").glob("*.csv"))
    }


@pytest.fixture(scope="module")
def remade(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make(tmp_path_factory.mktemp("golden"))


def test_every_golden_file_is_made(remade: dict[str, str]) -> None:
    assert set(remade) == {path.name for path in GOLDEN.glob("*.csv")}


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.glob("*.csv")))
def test_numbers_do_not_move(name: str, remade: dict[str, str]) -> None:
    assert remade[name] == (GOLDEN / name).read_text(encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for file, text in make(Path(folder)).items():
            (GOLDEN / file).write_text(text, encoding="utf-8")
