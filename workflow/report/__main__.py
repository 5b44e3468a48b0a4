"""`python -m workflow.report COMMAND`: rows to a frame, estimates, tables, figures, verdicts and
the page.

`collect` and `estimates` write the frame and the estimates, `make` everything that is shown of
them, each file by its name. `verdicts` prints the table of claims. `keep` puts rows into the
repository, `readme` makes its pages of them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pointer.errors import InputError
from workflow.report import LEDGER


def parser() -> argparse.ArgumentParser:
    """Return the command line; `--tier` only decides whether titles carry the smoke stamp."""
    top = argparse.ArgumentParser(prog="python -m workflow.report", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)

    def command(name: str, text: str, **options: tuple[str | None, str]) -> argparse.ArgumentParser:
        """Add a command; options: name -> default and help, where None is no default."""
        added = commands.add_parser(name, help=text)
        for option, (default, about) in options.items():
            words = about if default is None else f"{about}; default: {default}"
            required = default is None
            added.add_argument(
                f"--{option}", type=Path, required=required, default=default, help=words
            )
        return added

    rows = (None, "a file with one row path a line")
    collect = command(
        "collect", "row files -> rows.parquet and rows.csv",
        manifest=rows, out=(None, "folder for the frame"),
    )  # fmt: skip
    collect.add_argument(
        "--benchmarks", type=Path, help="a pytest-benchmark JSON of the mixers, to join the frame"
    )
    command(
        "estimates", "rows -> estimates.parquet and estimates.csv, a line a number",
        rows=(None, "the frame that `collect` wrote, or a folder of rows"),
        out=(None, "folder for the two files"),
    )  # fmt: skip
    made = commands.add_parser("make", help="files of a report, each by its folder and name")
    made.add_argument("files", type=Path, nargs="+", help="such as results/tables/speedup.csv")
    made.add_argument(
        "--from", dest="given", type=Path, nargs="+", required=True,
        help="rows.parquet and estimates.parquet; for index.html also tables and figures",
    )  # fmt: skip
    made.add_argument("--tier", default="", help="smoke stamps every title, and gives no verdict")
    made.add_argument("--planned", type=int, default=0, help="rows of the tier, for the page")
    command(
        "verdicts", "the claims table on the terminal",
        table=("results/tables/claims.csv", "the table"),
    )  # fmt: skip
    command("keep", "row files -> rows to commit", manifest=rows, out=("results/reference", "to"))
    command(
        "readme", "reference rows -> docs/results.md, its figures, the README's answer",
        rows=("results/reference", "a folder of rows"), readme=("README.md", "the README"),
        results=("docs/results.md", "the page"), figures=("docs/figures", "folder of its figures"),
    )  # fmt: skip
    return top


def run(arguments: argparse.Namespace) -> list[Path]:
    """Do what the command line says; return the files made."""
    from workflow.report import estimates, frame, readme

    if arguments.command == "estimates":
        return estimates.write(frame.load(arguments.rows), arguments.out)
    if arguments.command == "collect":
        frame.collect(arguments.manifest, arguments.out, arguments.benchmarks)
        return [arguments.out / "rows.parquet", arguments.out / "rows.csv"]
    if arguments.command == "keep":
        rows = frame.listed_rows(arguments.manifest)
        return frame.keep(rows, arguments.out, replace=True)
    if arguments.command == "readme":
        return readme.write(arguments.rows, arguments.readme, arguments.results, arguments.figures)
    return make(arguments.files, arguments.given, arguments.tier, arguments.planned)


def make(files: Sequence[Path], given: Sequence[Path], tier: str, planned: int) -> list[Path]:
    """Make tables, figures, verdicts and page by the names of their files, in all formats.

    Several kinds may be asked for at once, all into one results folder.
    """
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
            present = ", ".join(str(path) for path in given)
            raise InputError.about("--from", present, f"{name} among them", "the command line")
    rows = frame.load(by_name["rows.parquet"])
    numbers = estimates.load(by_name["estimates.parquet"])
    out = files[0].parents[1]
    asked = {kind: _names(files, kind) for kind in ("tables", "figures", "report")}
    plain = {kind: sorted(names - {"claims"}) for kind, names in asked.items()}
    reference = None
    # A smoke row is too little to stand beside anything.
    if (plain["tables"] or asked["report"]) and tier != "smoke" and estimates.REFERENCE.is_dir():
        reference = estimates.of_reference()
    made = tables.write(numbers, out / "tables", tier, plain["tables"], reference)
    made += figures.write(numbers, rows, out / "figures", tier, plain["figures"])
    if not asked["report"] and "claims" not in asked["tables"]:
        return made
    lines = claims.judge(numbers, ledger.read(LEDGER), tier, claims.unsound_rows(rows))
    if "claims" in asked["tables"]:
        made += render.write(claims.table(lines), out / "tables", tier)
        made += claims_figure.write(lines, out / "figures", tier)
    if asked["report"]:
        present_files = [*given, *made]
        drawn = [path for path in present_files if path.suffix == ".svg"]
        listed = _names(present_files, "tables")
        names = [name for name in tables.NAMES if name in listed]
        shown = build.Shown(drawn, names, reference, planned)
        made.append(build.write(numbers, rows, lines, out / "report", tier, shown))
    return made


def _names(files: Sequence[Path], folder: str) -> set[str]:
    return {path.stem for path in files if path.parent.name == folder}


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
