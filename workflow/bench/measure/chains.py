"""`pointer-bench trace`: the chain of one position of a trained model, as text and as the JSON that figures read.

The row and the weights beside it say which model it is; the sequence is a fresh one of the row's task, or another of
its stream (`--sequence`).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from pointer import Trace, trace
from pointer.errors import InputError
from workflow.bench.measure import models
from workflow.bench.rows import RowError, read_row
from workflow.bench.settings import from_dict
from workflow.bench.store import attachment

STREAM = "trace"


def load(path: Path) -> tuple[Any, torch.nn.Module]:
    """The settings, resolved, and the trained model of an interpretability row.

    Raises RowError for a file that is no row and InputError for a row without weights.
    """
    row = read_row(path)
    weights = attachment(path, (row["files"] or {}).get("weights", "weights.safetensors"))
    if not weights.is_file():
        raise InputError.about(
            "--row", str(path), f"a row of `interpretability` with {weights.name} beside it", "`--row`"
        )
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    cell = replace(from_dict(row["settings"]), device="cpu").resolved()
    model = models.build(cell, torch.device("cpu"))
    try:
        model.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise RowError(f"{weights}: not the weights of {path.name} ({str(error).splitlines()[0]})") from error
    return cell, model.eval()


def follow(path: Path, sequence: int) -> tuple[torch.Tensor, Trace]:
    """tokens int64[N] of the sequence and where the row's model points on it."""
    cell, model = load(path)
    tokens, _ = models.task_of(cell).batch_of(STREAM, sequence, 1)
    return tokens[0], trace(model, tokens)


def lines(tokens: torch.Tensor, found: Trace, position: int, head: int) -> list[str]:
    """The chain from `position` at the top layer down to its root, a line a layer."""
    if not 0 <= head < found.targets.shape[2]:
        raise InputError.about("--head", head, f"0 to {found.targets.shape[2] - 1}", "`--head`")
    chain = found.chain(position, head=head)
    top = len(chain) - 1
    steps = [
        f"layer {top - step}: {here:>7} -> {there:>7}   hop {here - there:>7}   symbol {int(tokens[there])}"
        for step, (here, there) in enumerate(pairwise(chain))
    ]
    return [f"position {position}, symbol {int(tokens[position])}, pointer head {head}", *steps]


def content(tokens: torch.Tensor, found: Trace, position: int, head: int) -> dict[str, Any]:
    """The same for programs, with all targets int[L][H][N] of the sequence."""
    return {
        "position": position,
        "head": head,
        "tokens": tokens.tolist(),
        "chain": found.chain(position, head=head),
        "targets": found.targets[:, 0].tolist(),
    }
