"""Experiment `interpretability` (paper section 3.2): where the pointers of a trained model point, layer by layer.

It is trained on the copy task, whose hops the task prescribes, or on another (`task`; bytes is real text). Hop
statistics are over the positions of a fresh batch that carry loss: on copy those with t >= D, which need a reach of D.
Beside the row lie `trace.json` (tokens int[N] and targets int[L][H][N] of the first sequence, hop histograms [L][bins]
with their edges, one chain) and `weights.safetensors` (the trained weights).
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pointer import Trace, trace
from pointer.errors import InputError
from workflow.bench.measure import devices, models
from workflow.bench.measure.learning import train_and_score
from workflow.bench.measure.training import Report
from workflow.bench.outcomes import Unsupported
from workflow.bench.settings import Settings
from workflow.bench.tasks import IGNORED

FILES = {"trace": "trace.json", "weights": "weights.safetensors"}


def run(settings: Settings, report: Report, folder: Path) -> dict[str, Any]:
    """The measured row keys of an interpretability cell, and its files in `folder`; raises Unsupported for a model
    without pointers."""
    cell = settings.resolved()
    device = devices.resolve(cell.device)
    _require_pointers(cell, device)
    model, row = train_and_score(cell, report, folder)
    tokens, targets = models.task_of(cell).batch_of("trace", 0, cell.batch)
    found = trace(model, tokens.to(device))
    _write_trace(folder / FILES["trace"], found, tokens[0], targets)
    _write_weights(folder / FILES["weights"], model)
    statistics = hop_statistics(scored_hops(found.hops, targets))
    return row | statistics | {"files": FILES, "warnings": found.warnings()}


def _require_pointers(cell: Settings, device: torch.device) -> None:
    """Asked of the untrained model: training one that cannot be traced would be waste."""
    try:
        trace(models.build(cell, device), torch.zeros(1, 2, dtype=torch.int64, device=device))
    except InputError:
        raise Unsupported(f"{cell.model} has no pointers to trace") from None


def scored_hops(hops: Tensor, targets: Tensor) -> Tensor:
    """hops: int64[L, B, H, N], targets: int64[B, N] -> int64[L, H, positions that carry loss]."""
    return hops.transpose(1, 2)[:, :, (targets != IGNORED).to(hops.device)]


def hop_statistics(hops: Tensor) -> dict[str, Any]:
    """hops: int64[L, ..., positions] in tokens -> mean and longest hop of each layer, the lowest first."""
    layers = hops.flatten(1).double()
    return {"hops_mean": [float(layer.mean()) for layer in layers], "hops_max": [int(layer.max()) for layer in layers]}


def histogram(hops: Tensor, edges: list[int]) -> list[int]:
    """How many hops lie in [edge, next edge), for each neighbouring pair."""
    return [int(((hops >= low) & (hops < high)).sum()) for low, high in pairwise(edges)]


def hop_edges(length: int) -> list[int]:
    """0, 1, 2, 4, 8 ... up to the first power of two beyond every hop of a sequence of N = length."""
    return [0, *(2**n for n in range((length - 1).bit_length() + 1))]


def _write_trace(path: Path, found: Trace, tokens: Tensor, targets: Tensor) -> None:
    hops, edges = found.hops, hop_edges(targets.shape[1])
    content = {
        "tokens": tokens.tolist(),
        "targets": found.targets[:, 0].tolist(),
        "hop_edges_tokens": edges,
        "hop_counts": [histogram(layer, edges) for layer in scored_hops(hops, targets)],
        "hops_mean_all_positions": hop_statistics(hops)["hops_mean"],
        "chain_of_last_position": found.chain(targets.shape[1] - 1),
    }
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_weights(path: Path, model: nn.Module) -> None:
    """Loads safetensors late: no other experiment needs it."""
    from safetensors.torch import save_file

    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}, path)
