"""Where a number comes from: `pointer-bench why` prints an estimate and its rows."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pointer.errors import InputError
from workflow.bench.experiments import AXES
from workflow.report import estimates, frame
from workflow.report.estimates import KEY, PLACE, SEPARATOR, WHOLE_KEYS
from workflow.report.layout import significant

WHERE = "the command line"
# Taken where a column is not chosen and several values match.
USUAL = {"variant": "", "phase": "training", "dtype": "float32"}
ANY = "any"  # `--variant any`: changed or not
MOST = 100  # candidates that are listed


def explain(quantity: str, wanted: Mapping[str, str], results: Path, reference: Path) -> str:
    """Return the estimates that `wanted` values of columns choose, with their rows and commands,
    from `results` or else the rows in `reference`; a list of candidates where they differ in more
    than their place. Raises InputError, with the nearest values, where nothing matches."""
    source = results / "estimates.parquet"
    if source.is_file():
        table, rows = estimates.load(source), frame.load(results / "rows.parquet")
    else:
        source, rows = reference, frame.load(reference)
        table = estimates.build(rows)
    chosen = select(table, quantity, wanted)
    if len(chosen[[key for key in KEY if key not in PLACE]].drop_duplicates()) > 1:
        return candidates(chosen)
    return of_all(chosen, rows, source)


def of_all(chosen: pd.DataFrame, rows: pd.DataFrame, source: Path) -> str:
    """Return estimates in words, each with its row files and the commands that make them again."""
    commands = dict(zip(rows["path"], rows["command"], strict=True))
    texts = [_one(estimate, commands) for estimate in chosen.to_dict("records")]
    return "\n\n".join([*texts, f"From {source}."])


def select(table: pd.DataFrame, quantity: str, wanted: Mapping[str, str]) -> pd.DataFrame:
    """Return the estimates that match; raise InputError for the first value that none has."""
    chosen = table[table["quantity"] == quantity]
    if chosen.empty:
        raise InputError.unknown("quantity", quantity, table["quantity"].unique(), WHERE)
    for name, text in wanted.items():
        if text == ANY:
            continue
        column = "x" if name in AXES else name
        if name in AXES:
            chosen = _matching(chosen, "axis", name)
        chosen = _matching(chosen, column, text)
    for column, usual in USUAL.items():
        if column not in wanted and (chosen[column] == usual).any():
            chosen = chosen[chosen[column] == usual]
    return chosen


def _matching(chosen: pd.DataFrame, column: str, text: str) -> pd.DataFrame:
    """Return the estimates whose column has the value; a part of a machine's name is enough."""
    if column in (*WHOLE_KEYS, "learning_rate"):
        numbers = sorted(chosen[column].dropna().unique())
        if not re.fullmatch(r"[-+0-9.e]+", text) or float(text) not in numbers:
            known = ", ".join(f"{number:g}" for number in numbers) or "none: it does not apply"
            raise InputError.about(column, text, f"{known} (with the options before it)", WHERE)
        return chosen[(chosen[column] == float(text)).fillna(False)]
    found = chosen[chosen[column] == text]
    if found.empty and column == "machine":
        found = chosen[chosen[column].str.contains(text, case=False, regex=False)]
    if found.empty:
        names = [name for name in chosen[column].unique() if name]
        raise InputError.unknown(column, text, names, WHERE)
    return found


def candidates(chosen: pd.DataFrame) -> str:
    """Return a line a candidate: columns that tell them apart, and the value."""
    different = [key for key in KEY if chosen[key].nunique(dropna=False) > 1]
    values = chosen["value"].map(lambda value: significant(value, 4))
    shown = chosen[[*different, "value", "status"]].assign(value=values).head(MOST)
    options = ", ".join(f"--{key.replace('_', '-')}" for key in different)
    more = f"\n... and {len(chosen) - MOST} more" if len(chosen) > MOST else ""
    found = f"{len(chosen)} estimates match; say more by {options}:"
    return f"{found}\n\n{shown.astype('str').to_string(index=False)}{more}"


def _one(estimate: Mapping[Any, Any], commands: Mapping[str, str]) -> str:
    applies = [key for key in KEY[1:] if pd.notna(estimate[key]) and estimate[key] != ""]
    # Lines break between the columns only.
    columns = "  ".join(f"{key}={estimate[key]}".replace(" ", "\u00a0") for key in applies)
    bounds = []
    for words, low, high in (("interval", "low", "high"), ("runs from", "least", "most")):
        if pd.notna(estimate[low]) and pd.notna(estimate[high]):
            ends = significant(estimate[low], 4), significant(estimate[high], 4)
            bounds.append(f"{words} {ends[0]} to {ends[1]}")
    bounds.append(f"{estimate['n']} of {estimate['runs']} finished runs have it")
    value = f"{significant(estimate['value'], 4)} {estimate['unit']}"
    value = value if estimate["status"] == "ok" else estimate["status"]
    lines = [f"{estimate['quantity']}: {value}"]
    lines += ["  " + line.replace("\u00a0", " ") for line in textwrap.wrap(columns, 100)]
    lines.append(f"  {'; '.join(bounds)}")
    lines += [f"  {name}: {estimate[name]}" for name in ("reason", "doubt") if estimate[name]]
    lines.append("  rows, and the commands that make them again:")
    for path in filter(None, estimate["rows"].split(SEPARATOR)):
        session = Path(f"{Path(path).parent}.jsonl")
        lines_of = session.name if session.is_file() else "rows.jsonl there"
        kept = "" if Path(path).is_file() else f", a line of {lines_of}"
        command = commands.get(path, "this row is not beside the estimates any more")
        lines += [f"    {path}{kept}", f"      {command}"]
    return "\n".join(lines)
