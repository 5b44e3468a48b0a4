"""Rows to a frame, estimates, tables, figures, verdicts, the page and docs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pointer.errors import InputError
from workflow.report import LEDGER

PAGES = {  # what `readme` reads and writes
    "rows": "results/reference",
    "readme": "README.md",
    "results": "docs/results.md",
    "figures": "docs/figures",
}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(prog="python -m workflow.report", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    manifest = "a file with one row path a line"
    added = commands.add_parser("collect", help="row files -> rows.parquet and rows.csv")
    added.add_argument("--manifest", type=Path, required=True, help=manifest)
    added.add_argument("--out", type=Path, required=True, help="folder for the frame")
    added.add_argument("--benchmarks", type=Path, help="pytest-benchmark's JSON of the mixers")
    added = commands.add_parser("estimates", help="rows -> estimates.parquet and estimates.csv")
    added.add_argument("--rows", type=Path, required=True, help="rows.parquet, or a folder of rows")
    added.add_argument("--out", type=Path, required=True, help="folder for the files")
    added = commands.add_parser("make", help="files of a report, each by its folder and name")
    added.add_argument("files", type=Path, nargs="+", help="such as results/tables/speedup.csv")
    given = "rows.parquet, estimates.parquet, reference_estimates.parquet, tables and figures"
    added.add_argument("--from", dest="given", type=Path, nargs="+", required=True, help=given)
    added.add_argument("--tier", default="", help="smoke stamps every title, and gives no verdict")
    added.add_argument("--planned", type=int, default=0, help="rows of the tier, for the page")
    added = commands.add_parser("verdicts", help="the claims table on the terminal")
    added.add_argument("--table", type=Path, default="results/tables/claims.csv", help="the table")
    added = commands.add_parser("keep", help="row files -> rows to commit")
    added.add_argument("--manifest", type=Path, required=True, help=manifest)
    added.add_argument("--out", type=Path, default=PAGES["rows"], help="folder to add to")
    added = commands.add_parser("readme", help="reference rows -> docs/results.md and README.md")
    for name, path in PAGES.items():
        added.add_argument(f"--{name}", type=Path, default=path, help=f"default: {path}")
    return top


def run(arguments: argparse.Namespace) -> list[Path]:
    """Do what the command line says; return the files made."""
    from workflow.report import estimates, frame, readme

    match arguments.command:
        case "estimates":
            return estimates.write(frame.load(arguments.rows), arguments.out)
        case "collect":
            frame.collect(arguments.manifest, arguments.out, arguments.benchmarks)
            return [arguments.out / "rows.parquet", arguments.out / "rows.csv"]
        case "keep":
            return frame.keep(frame.listed_rows(arguments.manifest), arguments.out, replace=True)
        case "readme":
            return readme.write(*(getattr(arguments, name) for name in PAGES))
    return make(arguments.files, arguments.given, arguments.tier, arguments.planned)


def make(files: Sequence[Path], given: Sequence[Path], tier: str, planned: int) -> list[Path]:
    """Make tables, figures, verdicts and page by the names of their files, in all formats."""
    from workflow.bench.rows import write_atomically
    from workflow.report import (
        claims,
        claims_figure,
        estimates,
        figures,
        frame,
        ledger,
        render,
        tables,
    )
    from workflow.report.page import build

    by_name = {path.name: path for path in given}
    for name in ("rows.parquet", "estimates.parquet"):
        if name not in by_name:
            present = ", ".join(map(str, given))
            raise InputError.about("--from", present, f"{name} among them", "the command line")
    rows = frame.load(by_name["rows.parquet"])
    numbers = estimates.load(by_name["estimates.parquet"])
    out = files[0].parents[1]
    asked = {(path.parent.name, path.stem) for path in files}
    shown = sorted(name for kind, name in asked if kind == "tables" and name != "claims")
    page = any(kind == "report" for kind, _ in asked)
    # A smoke row is too little to stand beside anything.
    beside = None if tier == "smoke" else by_name.get("reference_estimates.parquet")
    reference = estimates.load(beside) if beside else None
    made = tables.write(numbers, out / "tables", tier, shown, reference)
    drawn = sorted(name for kind, name in asked if kind == "figures" and name != "claims")
    made += figures.write(numbers, rows, out / "figures", tier, drawn)
    if not page and ("tables", "claims") not in asked:
        return made
    lines = claims.judge(numbers, ledger.read(LEDGER), tier, claims.unsound_rows(rows))
    if ("tables", "claims") in asked:
        made += render.write(claims.table(lines), out / "tables", tier)
        made += claims_figure.write(lines, out / "figures", tier)
    if page:
        present_files = [*given, *made]
        svgs = [path for path in present_files if path.suffix == ".svg"]
        listed = {path.stem for path in present_files if path.parent.name == "tables"}
        names = [name for name in tables.NAMES if name in listed]
        made.append(out / "report" / "index.html")
        text = build.html(numbers, rows, lines, tier, svgs, names, reference, planned)
        write_atomically(made[-1], text)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Return exit code 0, or 2 for bad input, with one line that says what."""
    from workflow.bench import progress
    from workflow.bench.rows import RowError
    from workflow.report import verdicts

    arguments = parser().parse_args(argv)
    os.environ["MPLBACKEND"] = "Agg"  # a notebook's may be absent here, and stops matplotlib
    try:
        if arguments.command == "verdicts":
            print(verdicts.text(arguments.table))
            return 0
        made = run(arguments)
    except (InputError, RowError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    progress.show(f"wrote {len(made)} files under {made[0].parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
