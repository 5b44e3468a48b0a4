"""Where the pointers of a trained model point, layer by layer (paper section 3.2).

`interpretability` writes `trace.json` (one sequence with all its pointers, hop histograms of the
batch) and `weights.safetensors` beside its row, for `pointer-bench trace`. `ablation` and `two_hop`
add hop statistics to the row. In `two_hop` no single pointer reaches the distance: a layer points
at most R = window - 1 back, so D with R < D <= 2R takes two hops.

    R = 31, D = 48    position  i-48 ........ i-24 ........ i
                      layer a   i-24 points at i-48, so its state holds that symbol
                      layer b   i points at i-24 and reads it there
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pointer import Trace, trace
from pointer.errors import InputError
from workflow.bench.cell import Cell, from_dict
from workflow.bench.measure import devices, models
from workflow.bench.measure.learning import train_and_score
from workflow.bench.measure.training import Report
from workflow.bench.outcomes import Unsupported
from workflow.bench.rows import RowError, attachment, read_row
from workflow.bench.tasks.base import IGNORED

FILES = {"trace": "trace.json", "weights": "weights.safetensors"}
STREAM = "trace"  # of fresh sequences


def interpretability(cell: Cell, report: Report, folder: Path) -> dict[str, Any]:
    """Return the measured row keys of an interpretability cell; write its files to `folder`.

    Raise Unsupported, before any training, for a model without pointers.
    """
    from safetensors.torch import save_file  # imported late: other experiments do without it

    cell = cell.resolved()
    device = devices.resolve(cell.device)
    try:
        trace(models.build(cell, device), torch.zeros(1, 2, dtype=torch.int64, device=device))
    except InputError:
        raise Unsupported(f"{cell.model} has no pointers to trace") from None
    model, row = train_and_score(cell, report, folder)
    tokens, targets = cell.learned().batch_of(STREAM, 0, cell.batch)
    traced = trace(model, tokens.to(device))
    _write_trace(folder / FILES["trace"], traced, tokens[0], targets)
    weights = {}
    for name, tensor in model.state_dict().items():
        weights[name] = tensor.detach().cpu().contiguous()
    save_file(weights, folder / FILES["weights"])
    statistics = hop_statistics(scored_hops(traced.hops, targets))
    return row | statistics | {"files": FILES, "warnings": traced.warnings()}


def ablation(cell: Cell, report: Report, folder: Path) -> dict[str, Any]:
    """Return the measured row keys of an ablation cell, with hop statistics if it has pointers."""
    cell = cell.resolved()
    model, row = train_and_score(cell, report, folder)
    tokens, targets = cell.learned().batch_of(STREAM, 0, cell.batch)
    try:
        traced = trace(model, tokens.to(devices.resolve(cell.device)))
    except InputError:
        return row
    return row | hop_statistics(scored_hops(traced.hops, targets)) | {"warnings": traced.warnings()}


def scored_hops(hops: Tensor, targets: Tensor) -> Tensor:
    """Return the hops int64[L, H, M] of the M positions that carry loss, from int64[L, B, H, N]."""
    return hops.transpose(1, 2)[:, :, (targets != IGNORED).to(hops.device)]


def hop_statistics(hops: Tensor) -> dict[str, Any]:
    """Return each layer's mean and longest hop in tokens, and the share moved, of int64[L, ...]."""
    layers = hops.flatten(1).abs()  # a control that is not causal points ahead as well
    return {
        "utilisation": float((layers > 0).double().mean()),
        "hops_mean": [float(layer.double().mean()) for layer in layers],
        "hops_max": [int(layer.max()) for layer in layers],
    }


def histogram(hops: Tensor, edges: list[int]) -> list[int]:
    """Return how many hops lie in [edge, next edge), for each pair of neighbouring edges."""
    return [int(((hops >= low) & (hops < high)).sum()) for low, high in pairwise(edges)]


def hop_edges(length: int) -> list[int]:
    """Return 0, 1, 2, 4, 8 ... up to the first power of two beyond every hop at this N."""
    return [0, *(2**n for n in range((length - 1).bit_length() + 1))]


def _write_trace(path: Path, traced: Trace, tokens: Tensor, targets: Tensor) -> None:
    """Write the first sequence (tokens int64[N], targets int64[B, N]) and the batch's hops."""
    edges = hop_edges(targets.shape[1])
    content = {
        "tokens": tokens.tolist(),
        "targets": traced.targets[:, 0].tolist(),
        "hop_edges_tokens": edges,
        "hop_counts": [histogram(layer, edges) for layer in scored_hops(traced.hops, targets)],
        "hops_mean_all_positions": hop_statistics(traced.hops)["hops_mean"],
        "chain_of_last_position": traced.chain(targets.shape[1] - 1),
    }
    path.write_text(json.dumps(content), encoding="utf-8")


def follow(path: Path, sequence: int) -> tuple[Tensor, Trace]:
    """Return tokens int64[N] of a fresh sequence and the pointers of a row's model on it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    row = read_row(path)
    weights = attachment(path, (row["files"] or FILES)["weights"])
    if not weights.is_file():
        accepted = f"a row of `interpretability` with {weights.name} beside it"
        raise InputError.about("--row", str(path), accepted, "`--row`")
    cell = from_dict(row["settings"]).model_copy(update={"device": "cpu"}).resolved()
    model = models.build(cell, torch.device("cpu"))
    try:
        model.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RowError(f"{weights}: not the weights of {path.name} ({reason})") from error
    tokens, _ = cell.learned().batch_of(STREAM, sequence, 1)
    return tokens[0], trace(model.eval(), tokens)


def chain_lines(tokens: Tensor, traced: Trace, position: int, head: int) -> list[str]:
    """Return the chain of a position from the top layer down to its root, one line per layer."""
    heads = traced.targets.shape[2]
    if not 0 <= head < heads:
        raise InputError.about("--head", head, f"0 to {heads - 1}", "`--head`")
    chain = traced.chain(position, head=head)
    lines = [f"position {position}, symbol {int(tokens[position])}, pointer head {head}"]
    layer = len(chain) - 1
    for source, target in pairwise(chain):
        hop, symbol = source - target, int(tokens[target])
        lines.append(f"layer {layer}: {source:>7} -> {target:>7}   hop {hop:>7}   symbol {symbol}")
        layer -= 1
    return lines


def chain_content(tokens: Tensor, traced: Trace, position: int, head: int) -> dict[str, Any]:
    """Return the chain as data, with all targets int64[L][H][N] of the sequence."""
    return {
        "position": position,
        "head": head,
        "tokens": tokens.tolist(),
        "chain": traced.chain(position, head=head),
        "targets": traced.targets[:, 0].tolist(),
    }
