"""The subcommands of `pointer-bench` that read the report; bench.cli loads them by name."""

from __future__ import annotations

from pathlib import Path

import click

from workflow.bench.experiments import AXES

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="for programs")
def compare(a: Path, b: Path, as_json: bool) -> int:
    """Compare the ratios of two machines; exit code 1 if some differ.

    A and B are results folders, other folders of rows, or files estimates.parquet.
    """
    from workflow.report import compare as comparison  # slow: pandas

    compared = comparison.compare(a, b)
    print(comparison.as_json(compared) if as_json else comparison.as_text(compared))
    return 1 if compared["counts"]["differ"] else 0


@click.command()
@click.argument("folders", nargs=-1, required=True, type=PATH)
@click.option("--into", required=True, type=PATH, help="folder to add to")
def merge(folders: tuple[Path, ...], into: Path) -> int:
    """Add the rows of folders to one, those of a machine to a rows.jsonl of its own.

    Small traces come along, weights do not. Two different rows of one name and machine are named,
    and nothing is written.
    """
    from workflow.report import frame  # slow: pandas

    print("\n".join(frame.merge(folders, into)))
    return 0


# Of the estimates, as options of `why`; workflow/report/estimates/__init__.py says what they mean.
COLUMNS = [
    "experiment", "task", "model", "variant", "against", "phase", "machine", "device", "dtype",
    "threads", "trunk", "tokens", "learning-rate", "position", "axis", "x", "length", "batch",
    "symbols", "data", "layer",
]  # fmt: skip


@click.command(
    short_help="Print where a number of the report comes from.",
    params=[click.Option([f"--{name}"]) for name in dict.fromkeys([*COLUMNS, *AXES])],
)
@click.argument("quantity")
@click.option(
    "--results", type=PATH, default="results", show_default=True,
    help="folder with estimates.parquet and rows.parquet",
)  # fmt: skip
@click.option(
    "--reference", type=PATH, default="results/reference", show_default=True,
    help="rows that are asked where the folder has no estimates",
)  # fmt: skip
def why(quantity: str, results: Path, reference: Path, **columns: str | None) -> int:
    """Print an estimate, such as `why speedup --model pointer --against transformer --length 2048`,
    and its rows.

    QUANTITY is a name in estimates.csv: speedup, throughput, accuracy, tokens_to_95 and so on. The
    options choose values of its columns; --distance 512 is short for --axis distance --x 512, and
    of a machine a part of its name is enough.
    """
    from workflow.report import why as explanation  # slow: pandas

    wanted = {name: value for name, value in columns.items() if value is not None}
    print(explanation.explain(quantity, wanted, results, reference))
    return 0
