"""Inputs of a selection, the loops that every path of it is held to, and a comparison of two."""

import torch

TOLERANCES = {torch.float64: (1e-9, 1e-9), torch.float32: (1e-6, 2e-4)}  # of values, of gradients


def normal(*size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs(shape, seed, widths=(3, 5), window=1, dtype=torch.float64):
    """Return q, k, v, bias with gradients, and ascending offsets, some beyond the sequence.

    shape: (B, H, N, K). widths: (r, w). All offsets below `window` are there.
    """
    (batch, heads, length, candidates), (r, w) = shape, widths
    generator = torch.Generator().manual_seed(seed)
    sizes = [(batch, heads, length, width) for width in (r, r, w)] + [(heads, candidates)]
    drawn = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
    q, k, v, bias = (t.to(dtype).requires_grad_() for t in drawn)
    offsets = []
    for _ in range(heads):
        far = torch.randperm(length + candidates, generator=generator)
        far = far[: candidates - window] + window
        offsets.append(torch.cat([torch.arange(window), far.sort().values]))
    return q, k, v, bias, torch.stack(offsets)


def select_naive(q, k, v, bias, positions, noise, temperature):
    """Select by loops over batch, head and position, as the paper's sentences say.

    q, k: float[B, H, N, r]; v: float[B, H, N, w]; bias: float[H, C]; positions: int64[B, H, N, C],
    the candidates of each position, -1 for none; noise: float[B, H, N, C], added to scores. Returns
    (value of the target float[B, H, N, w], with the straight-through gradient; target
    int64[B, H, N]).
    """
    batch, heads, length, _ = q.shape
    values, targets = [], torch.empty(batch, heads, length, dtype=torch.int64)
    for b in range(batch):
        for h in range(heads):
            for i in range(length):
                known = k[b, h], v[b, h], bias[h], positions[b, h, i].tolist(), noise[b, h, i]
                value, target = _point(q[b, h, i], *known, temperature)
                values.append(value)
                targets[b, h, i] = target
    return torch.stack(values).view(v.shape), targets


def _point(q, k, v, bias, positions, noise, temperature):
    """One position: q float[r]; k float[N, r]; v float[N, w] -> (float[w], target)."""
    legal = [c for c, j in enumerate(positions) if j >= 0]
    scores = torch.stack([q @ k[positions[c]] + bias[c] + noise[c] for c in legal])
    tied = [n for n, score in enumerate(scores) if score == scores.max()]
    best = max(tied, key=lambda n: positions[legal[n]])
    soft = torch.softmax(scores / temperature, dim=0)
    weights = soft - soft.detach()
    weights[best] = weights[best] + 1.0
    value = torch.zeros_like(v[0])
    for weight, c in zip(weights, legal, strict=True):
        value = value + weight * v[positions[c]]
    return value, positions[legal[best]]


def assert_same(value, expected, leaves):
    """Assert equal values, and equal gradients of the leaves for the same upstream gradient."""
    close, close_gradients = TOLERANCES[value.dtype]
    torch.testing.assert_close(value, expected, atol=close, rtol=0)
    upstream = normal(*value.shape, seed=1).to(value.dtype)
    gradients = torch.autograd.grad(value, leaves, upstream)
    oracles = torch.autograd.grad(expected, leaves, upstream.to(expected.dtype))
    for gradient, oracle in zip(gradients, oracles, strict=True):
        torch.testing.assert_close(gradient, oracle, atol=close_gradients, rtol=close_gradients)
