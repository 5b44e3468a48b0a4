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
    """Return the command line; `tier` only decides whether titles carry the smoke stamp."""
    top = argparse.ArgumentParser(prog="python -m workflow.report", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    collect = commands.add_parser("collect", help="row files -> rows.parquet and rows.csv")
    collect.add_argument(
        "--manifest", type=Path, required=True, help="a file with one row path a line"
    )
    collect.add_argument("--out", type=Path, required=True, help="folder for the frame")
    collect.add_argument(
        "--benchmarks", type=Path, help="a pytest-benchmark JSON of the mixers, to join the frame"
    )
    estimates = commands.add_parser(
        "estimates", help="rows -> estimates.parquet and estimates.csv, a line a number"
    )
    estimates.add_argument(
        "--rows",
        type=Path,
        required=True,
        help="the frame that `collect` wrote, or a folder of rows",
    )
    estimates.add_argument("--out", type=Path, required=True, help="folder for the two files")
    made = commands.add_parser("make", help="files of a report, each by its folder and name")
    made.add_argument("files", type=Path, nargs="+", help="such as results/tables/speedup.csv")
    made.add_argument("--from", dest="given", type=Path, nargs="+", required=True,
                      help="rows.parquet and estimates.parquet; for index.html also tables and "
                           "figures")  # fmt: skip
    made.add_argument("--tier", default="", help="smoke stamps every title, and gives no verdict")
    verdicts = commands.add_parser("verdicts", help="the claims table on the terminal")
    verdicts.add_argument(
        "--table", type=Path, default=Path("results/tables/claims.csv"), help="default: %(default)s"
    )
    _for_the_repository(commands)
    return top


def _for_the_repository(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the two commands whose results are committed."""
    reference, figures = Path("results/reference"), Path("docs/figures")
    keep = commands.add_parser("keep", help="row files -> rows to commit")
    keep.add_argument(
        "--manifest", type=Path, required=True, help="a file with one row path a line"
    )
    keep.add_argument("--out", type=Path, default=reference, help="default: %(default)s")
    readme = commands.add_parser(
        "readme", help="reference rows -> docs/results.md, its figures, the README's answer"
    )
    readme.add_argument(
        "--rows", type=Path, default=reference, help="a folder of rows; default: %(default)s"
    )
    readme.add_argument(
        "--readme", type=Path, default=Path("README.md"), help="default: %(default)s"
    )
    readme.add_argument(
        "--results", type=Path, default=Path("docs/results.md"), help="default: %(default)s"
    )
    readme.add_argument(
        "--figures", type=Path, default=figures, help="folder for its figures; default: %(default)s"
    )


def run(arguments: argparse.Namespace) -> list[Path]:
    """Do what the command line says; return the files made."""
    from workflow.report import estimates, frame, keep, readme

    if arguments.command == "estimates":
        return estimates.write(frame.load(arguments.rows), arguments.out)
    if arguments.command == "collect":
        frame.collect(arguments.manifest, arguments.out, arguments.benchmarks)
        return [arguments.out / "rows.parquet", arguments.out / "rows.csv"]
    if arguments.command == "keep":
        return keep.keep(arguments.manifest, arguments.out)
    if arguments.command == "readme":
        return readme.write(arguments.rows, arguments.readme, arguments.results, arguments.figures)
    return make(arguments.files, arguments.given, arguments.tier)


def make(files: Sequence[Path], given: Sequence[Path], tier: str) -> list[Path]:
    """Make tables, figures, verdicts and page by the names of their files, in all formats.

    Several kinds may be asked for at once, all into one results folder.
    """
    from workflow.report import claims, controls, estimates, figures, frame, ledger, render, tables
    from workflow.report.page import build

    by_name = {path.name: path for path in given}
    for name in ("rows.parquet", "estimates.parquet"):
        if name not in by_name:
            present = ", ".join(str(path) for path in given)
            raise InputError.about("--from", present, f"{name} among them", "the command line")
    rows, numbers = (
        frame.load(by_name["rows.parquet"]),
        estimates.load(by_name["estimates.parquet"]),
    )
    out = files[0].parents[1]
    names = {kind: _names(files, kind) for kind in ("tables", "figures", "report")}
    made = tables.write(
        numbers, out / "tables", tier, [n for n in names["tables"] if n != "claims"]
    )
    made += figures.write(
        numbers, rows, out / "figures", tier, [n for n in names["figures"] if n != "claims"]
    )
    if not names["report"] and "claims" not in names["tables"]:
        return made
    lines = claims.judge(numbers, ledger.read(LEDGER), tier, controls.unsound(rows))
    if "claims" in names["tables"]:
        made += render.write(claims.table(lines), out / "tables", tier) + figures.write_claims(
            lines, out / "figures", tier
        )
    if names["report"]:
        files_there = [*given, *made]
        drawn = [path for path in files_there if path.suffix == ".svg"]
        shown = build.Shown(
            drawn, [name for name in tables.NAMES if name in _names(files_there, "tables")]
        )
        made.append(build.write(numbers, rows, lines, out / "report", tier, shown))
    return made


def _names(files: Sequence[Path], folder: str) -> list[str]:
    return sorted({path.stem for path in files if path.parent.name == folder})


def main(argv: Sequence[str] | None = None) -> int:
    """Return exit code 0, or 2 for bad input, with one line that says what."""
    from workflow.bench.rows import RowError
    from workflow.report import verdicts

    arguments = parser().parse_args(argv)
    os.environ["MPLBACKEND"] = (
        "Agg"  # a notebook's may not exist here, and stops the import of matplotlib
    )
    try:
        if arguments.command == "verdicts":
            print(verdicts.text(arguments.table))
            return 0
        made = run(arguments)
    except (InputError, RowError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {len(made)} files under {made[0].parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
