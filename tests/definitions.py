"""The mixers of the baselines by their plain definitions: loops, or all N x N pairs.

Each definition takes a mixer, for its weights, and the input float64[2, N, 8] of two heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.parts.heads import merge_heads, split_heads

Visible = Callable[[int, int, int], bool]
Slow = Callable[[Any, Tensor], Tensor]


def qkv(mixer: Any, x: Tensor) -> list[Tensor]:
    return [split_heads(part, mixer.heads) for part in mixer.qkv(x).chunk(3, dim=-1)]


def softmax(scores: Tensor, v: Tensor) -> Tensor:
    """The softmax by its definition, over j <= i."""
    weights = scores.exp().tril()
    return merge_heads(weights / weights.sum(-1, keepdim=True) @ v)


def masked(visible: Visible) -> Slow:
    """Attention over all pairs, of which `visible(head, i, j)` decides what counts."""

    def slow(mixer: Any, x: Tensor) -> Tensor:
        (q, k, v), positions = qkv(mixer, x), range(x.shape[1])
        seen = [
            [[visible(h, i, j) for j in positions] for i in positions] for h in range(mixer.heads)
        ]
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        out: Tensor = mixer.out(softmax(scores.masked_fill(~torch.tensor(seen), float("-inf")), v))
        return out

    return slow


def turned(x: Tensor) -> Tensor:
    """Pairs (n, n + e/2) as complex numbers, turned one position at a time."""
    half, rows = x.shape[-1] // 2, []
    for i in range(x.shape[-2]):
        angle = torch.tensor([i * 10_000 ** (-n / half) for n in range(half)], dtype=x.dtype)
        pair = torch.complex(x[..., i, :half], x[..., i, half:]) * torch.polar(
            torch.ones_like(angle), angle
        )
        rows.append(torch.cat([pair.real, pair.imag], dim=-1))
    return torch.stack(rows, dim=-2)


def weighed(weights: Callable[[int, int], Tensor], v: Tensor) -> Tensor:
    """sum over j <= i of weights(i, j)[B, H] v_j, a loop over both."""
    rows = [
        sum(weights(i, j)[..., None] * v[:, :, j] for j in range(i + 1)) for i in range(v.shape[2])
    ]
    return torch.stack(rows, dim=2)  # type: ignore[arg-type]


def mean_by_features(mixer: Any, queries: Tensor, keys: Tensor, v: Tensor) -> Tensor:
    products = lambda i, j: (queries[:, :, i] * keys[:, :, j]).sum(-1)  # noqa: E731
    total = weighed(products, torch.ones_like(v[..., :1])) + 1e-6
    out: Tensor = mixer.out(merge_heads(weighed(products, v) / total))
    return out


def convolved(filters: Tensor, x: Tensor) -> Tensor:
    """filters: [d, N or taps], x: [B, N, d] -> [B, N, d], a sum for every position."""
    taps = filters.shape[1]
    rows = [
        sum(filters[:, i - j] * x[:, j] for j in range(max(0, i + 1 - taps), i + 1))
        for i in range(x.shape[1])
    ]
    return torch.stack(rows, dim=1)  # type: ignore[arg-type]


def rotary(mixer: Any, x: Tensor) -> Any:
    q, k, v = qkv(mixer, x)
    return mixer.out(softmax(turned(q) @ turned(k).transpose(-2, -1) / 2, v))


def relative(mixer: Any, x: Tensor) -> Any:
    q, k, v = qkv(mixer, x)
    positions = torch.arange(x.shape[1])
    behind = (positions[:, None] - positions).clamp(min=0)
    return mixer.out(softmax(q @ k.transpose(-2, -1) / 2 + mixer.offset_table[:, behind], v))


def content(mixer: Any, x: Tensor) -> Any:
    """A token is compared with what stood before each earlier one; a key of zeros weighs exp(0)."""
    (q, k, v), scoring, rows = qkv(mixer, x), mixer.scoring, []
    taps = scoring.taps.unbind(-1)
    mixed = [
        sum(w * k[:, :, j - tap] for tap, w in enumerate(taps) if tap <= j)
        for j in range(x.shape[1])
    ]
    for i in range(x.shape[1]):
        query = F.normalize(k[:, :, i] + scoring.share[:, 0] * q[:, :, i], dim=-1)
        cosines = [(query * F.normalize(mixed[j], dim=-1)).sum(-1, keepdim=True) for j in range(i)]
        weights = [(scoring.log_scale[:, 0].exp() * cosine).exp() for cosine in cosines]
        seen = sum(
            (w * v[:, :, j] for j, w in enumerate(weights)), start=torch.zeros_like(v[:, :, 0])
        )
        rows.append(seen / (1 + sum(weights, start=torch.zeros_like(v[:, :, 0, :1]))))
    return mixer.out(merge_heads(torch.stack(rows, dim=2)))


def linear(mixer: Any, x: Tensor) -> Tensor:
    q, k, v = qkv(mixer, x)
    return mean_by_features(mixer, F.elu(q) + 1, F.elu(k) + 1, v)


def performer(mixer: Any, x: Tensor) -> Tensor:
    q, k, v = (part / 4**0.25 if n < 2 else part for n, part in enumerate(qkv(mixer, x)))
    feature = lambda t: (t @ mixer.directions.T - (t * t).sum(-1, keepdim=True) / 2).exp()  # noqa: E731
    scale = feature(q).amax(-1, keepdim=True).detach()  # only the epsilons see it
    return mean_by_features(mixer, feature(q) / scale + 1e-4, feature(k) + 1e-4, v)


def rms(x: Tensor) -> Tensor:
    """Each head's channels over their root mean square."""
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def retention(mixer: Any, x: Tensor) -> Any:
    q, k, v = qkv(mixer, x)
    q, k = turned(q), turned(k) / 2
    gamma = 1 - 2.0 ** -(5 + torch.arange(2, dtype=torch.float64))
    mixed = weighed(lambda i, j: gamma ** (i - j) * (q[:, :, i] * k[:, :, j]).sum(-1), v)
    return mixer.out(F.silu(mixer.gate(x)) * merge_heads(rms(mixed)))


def gated(mixer: Any, x: Tensor) -> Any:
    q, k, v = qkv(mixer, x)
    decay = torch.sigmoid(mixer.decay_up(mixer.decay_down(x))) ** (1 / 16)
    decay = split_heads(decay.clamp(min=torch.e**-1), 2)
    state, rows = torch.zeros(2, 2, 4, 4, dtype=x.dtype), []
    for i in range(x.shape[1]):
        state = decay[:, :, i, :, None] * state + k[:, :, i, :, None] * v[:, :, i, None, :]
        rows.append((q[:, :, i, None, :] / 2 @ state).squeeze(-2))
    return mixer.out(F.silu(mixer.gate(x)) * merge_heads(rms(torch.stack(rows, dim=2))))


def delta(mixer: Any, x: Tensor) -> Any:
    short = F.silu(convolved(mixer.taps.T, mixer.qkv(x)))
    q, k, v = (split_heads(part, 2) for part in short.chunk(3, dim=-1))
    q, k = (part / part.norm(dim=-1, keepdim=True) for part in (q, k))
    rate, state, rows = torch.sigmoid(mixer.rate(x)), torch.zeros(2, 2, 4, 4, dtype=x.dtype), []
    for i in range(x.shape[1]):
        key, step = k[:, :, i, :, None], rate[:, i, :, None, None]
        state = state + key @ (step * (v[:, :, i, None, :] - key.transpose(-2, -1) @ state))
        rows.append((q[:, :, i, None, :] @ state).squeeze(-2))
    return mixer.out(merge_heads(rms(torch.stack(rows, dim=2))))


def hyena(mixer: Any, x: Tensor) -> Any:
    short = convolved(mixer.taps.T, mixer.project(x)) + mixer.taps_bias
    gate, key, value = short.chunk(3, dim=-1)
    return mixer.out(
        gate * (convolved(mixer.filters(x.shape[1]), key * value) + mixer.skip * key * value)
    )


def s4d(mixer: Any, x: Tensor) -> Tensor:
    rate = torch.complex(-mixer.log_decay.exp(), mixer.frequency)
    turn = (
        rate * mixer.log_step.exp()
    ).exp()  # zero-order hold: state' = turn state + (turn - 1) / rate x
    state, rows = torch.zeros(2, 8, 3, dtype=torch.complex128), []
    for i in range(x.shape[1]):
        state = turn * state + (turn - 1) / rate * x[:, i, :, None]
        rows.append(2 * (torch.complex(mixer.mix[0], mixer.mix[1]) * state).sum(-1).real)
    return F.glu(mixer.out(F.gelu(torch.stack(rows, dim=1) + mixer.skip * x)))


def uniform(mixer: Any, x: Tensor) -> Any:
    values = mixer.value(x)
    return mixer.out(torch.stack([values[:, : i + 1].mean(1) for i in range(x.shape[1])], dim=1))


def random_pointer(mixer: Any, x: Tensor) -> Any:
    targets, values = mixer.targets(x, None), split_heads(mixer.value(x), 2)
    picked = [values[:, h, targets[0, h]] for h in range(2)]
    return mixer.out(torch.sigmoid(mixer.gate(x)) * torch.cat(picked, dim=-1))


def gated_delta(mixer: Any, x: Tensor) -> Any:
    short = F.silu(convolved(mixer.taps.T, mixer.qkv(x)))
    q, k, v = (split_heads(part, 2) for part in short.chunk(3, dim=-1))
    q, k = q / q.norm(dim=-1, keepdim=True) / 2, k / k.norm(dim=-1, keepdim=True)
    writing, step = mixer.rates(x).chunk(2, dim=-1)
    decay = (-mixer.log_rate.exp() * F.softplus(step + mixer.step_bias)).exp()
    state, rows = torch.zeros(2, 2, 4, 4, dtype=x.dtype), []
    for i in range(x.shape[1]):
        key, rate = k[:, :, i, :, None], torch.sigmoid(writing)[:, i, :, None, None]
        state = decay[:, i, :, None, None] * state
        state = state + key @ (rate * (v[:, :, i, None, :] - key.transpose(-2, -1) @ state))
        rows.append((q[:, :, i, None, :] @ state).squeeze(-2))
    return mixer.out(merge_heads(rms(torch.stack(rows, dim=2))) * F.silu(mixer.gate(x)))


def mamba2(mixer: Any, x: Tensor) -> Any:
    gate, inner, key, query, step = mixer.project(x).split(mixer.parts, dim=-1)
    joined = torch.cat([inner, key, query], dim=-1)
    short = F.silu(convolved(mixer.taps.T, joined) + mixer.taps_bias)
    inner, key, query = short.split(mixer.parts[1:4], dim=-1)
    step = F.softplus(step + mixer.step_bias)
    state, rows = torch.zeros(2, 2, 3, 8, dtype=x.dtype), []
    for i in range(x.shape[1]):
        value = inner[:, i].view(2, 2, 1, 8)
        rate = step[:, i, :, None, None]
        state = (-mixer.log_rate.exp()[:, None, None] * rate).exp() * state
        state = state + key[:, i, None, :, None] * rate * value
        seen = query[:, i, None, None, :] @ state + mixer.skip[:, None, None] * value
        rows.append(seen.reshape(2, 16))
    mixed = torch.stack(rows, dim=1) * F.silu(gate)
    return mixer.out(mixer.norm.weight * rms(mixed))


def based_taylor(mixer: Any, x: Tensor) -> Any:
    q, k, v = (split_heads(p, 2) for p in mixer.mixer.qkv(x).split(mixer.mixer.parts, dim=-1))
    score = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    weights = (1 + score + score.square() / 2).tril()
    return mixer.mixer.out(merge_heads(weights / weights.sum(-1, keepdim=True) @ v))


def based_window(mixer: Any, x: Tensor) -> Any:
    q, k, v = qkv(mixer.mixer, x)
    positions = torch.arange(x.shape[1])
    behind = positions[:, None] - positions
    near = (behind >= 0) & (behind < 3)
    scores = (turned(q) @ turned(k).transpose(-2, -1) / 2).masked_fill(~near, -math.inf)
    return mixer.mixer.out(merge_heads(scores.softmax(-1) @ v))
