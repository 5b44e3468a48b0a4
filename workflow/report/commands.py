"""The subcommands of `pointer-bench` that read the report, not a device; workflow.bench.cli loads them by name."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="for programs")
def compare(a: Path, b: Path, as_json: bool) -> int:
    """Compare the ratios of two machines; exit code 1 if some differ.

    A and B are folders of rows, or files estimates.parquet.
    """
    from workflow.report import compare as comparison  # slow: pandas

    compared = comparison.compare(a, b)
    print(comparison.as_json(compared) if as_json else comparison.as_text(compared))
    return 1 if compared.counts()["differ"] else 0
