"""The baselines' mixers by their plain definitions, of inputs float64[2, N, 8] and two heads."""

import itertools
import math

import torch
import torch.nn.functional as F

from baselines.parts.heads import merge_heads, split_heads


def qkv(mixer, x):
    return [split_heads(part, mixer.heads) for part in mixer.qkv(x).chunk(3, dim=-1)]


def softmax(scores, v):
    weights = scores.exp().tril()
    return merge_heads(weights / weights.sum(-1, keepdim=True) @ v)


def masked(visible):
    """Attention over all pairs, of which `visible(head, i, j)` decides what counts."""

    def slow(mixer, x):
        (q, k, v), positions = qkv(mixer, x), range(x.shape[1])
        triples = itertools.product(range(mixer.heads), positions, positions)
        seen = torch.tensor([visible(*triple) for triple in triples])
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        return mixer.out(softmax(scores.masked_fill(~seen.view(scores.shape[1:]), -math.inf), v))

    return slow


def turned(x):
    """Pairs (n, n + e/2) as complex numbers, turned one position at a time."""
    half, rows = x.shape[-1] // 2, []
    for i in range(x.shape[-2]):
        angle = torch.tensor([i * 10_000 ** (-n / half) for n in range(half)], dtype=x.dtype)
        turn = torch.polar(torch.ones_like(angle), angle)
        pair = torch.complex(x[..., i, :half], x[..., i, half:]) * turn
        rows.append(torch.cat([pair.real, pair.imag], dim=-1))
    return torch.stack(rows, dim=-2)


def weighed(weights, v):
    """sum over j <= i of weights(i, j)[B, H] v_j, a loop over both."""
    rows = []
    for i in range(v.shape[2]):
        rows.append(sum(weights(i, j)[..., None] * v[:, :, j] for j in range(i + 1)))
    return torch.stack(rows, dim=2)


def mean_by_features(mixer, queries, keys, v):
    products = lambda i, j: (queries[:, :, i] * keys[:, :, j]).sum(-1)  # noqa: E731
    total = weighed(products, torch.ones_like(v[..., :1])) + 1e-6
    return mixer.out(merge_heads(weighed(products, v) / total))


def convolved(filters, x):
    """filters: [d, N or taps], x: [B, N, d] -> [B, N, d], a sum for every position."""
    taps, rows = filters.shape[1], []
    for i in range(x.shape[1]):
        near = range(max(0, i + 1 - taps), i + 1)
        rows.append(sum(filters[:, i - j] * x[:, j] for j in near))
    return torch.stack(rows, dim=1)


def rotary(mixer, x, window=64):
    (q, k, v), positions = qkv(mixer, x), torch.arange(x.shape[1])
    far = positions[:, None] - positions >= window
    scores = turned(q) @ turned(k).transpose(-2, -1) / 2
    return mixer.out(softmax(scores.masked_fill(far, -math.inf), v))


def relative(mixer, x):
    q, k, v = qkv(mixer, x)
    positions = torch.arange(x.shape[1])
    behind = (positions[:, None] - positions).clamp(min=0)
    return mixer.out(softmax(q @ k.transpose(-2, -1) / 2 + mixer.offset_table[:, behind], v))


def content(mixer, x):
    """A token is compared with what stood before each earlier one; a key of zeros weighs exp(0)."""
    (q, k, v), scoring, rows = qkv(mixer, x), mixer.scoring, []
    taps = scoring.taps.unbind(-1)
    mixed = []
    for j in range(x.shape[1]):
        mixed.append(sum(w * k[:, :, j - tap] for tap, w in enumerate(taps) if tap <= j))
    for i in range(x.shape[1]):
        query = F.normalize(k[:, :, i] + scoring.share[:, 0] * q[:, :, i], dim=-1)
        cosines = [(query * F.normalize(mixed[j], dim=-1)).sum(-1, keepdim=True) for j in range(i)]
        weights = [(scoring.log_scale[:, 0].exp() * cosine).exp() for cosine in cosines]
        nothing = torch.zeros_like(v[:, :, 0])
        seen = sum((w * v[:, :, j] for j, w in enumerate(weights)), start=nothing)
        rows.append(seen / (1 + sum(weights, start=torch.zeros_like(v[:, :, 0, :1]))))
    return mixer.out(merge_heads(torch.stack(rows, dim=2)))


def linear(mixer, x):
    q, k, v = qkv(mixer, x)
    return mean_by_features(mixer, F.elu(q) + 1, F.elu(k) + 1, v)


def performer(mixer, x):
    q, k, v = (part / 4**0.25 if n < 2 else part for n, part in enumerate(qkv(mixer, x)))
    feature = lambda t: (t @ mixer.directions.T - (t * t).sum(-1, keepdim=True) / 2).exp()  # noqa: E731
    scale = feature(q).amax(-1, keepdim=True).detach()  # only the epsilons see it
    return mean_by_features(mixer, feature(q) / scale + 1e-4, feature(k) + 1e-4, v)


def rms(x):
    """Each head's channels over their root mean square."""
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def retention(mixer, x):
    q, k, v = qkv(mixer, x)
    q, k = turned(q), turned(k) / 2
    gamma = 1 - 2.0 ** -(5 + torch.arange(2, dtype=torch.float64))
    mixed = weighed(lambda i, j: gamma ** (i - j) * (q[:, :, i] * k[:, :, j]).sum(-1), v)
    return mixer.out(F.silu(mixer.gate(x)) * merge_heads(rms(mixed)))


def gated(mixer, x):
    q, k, v = qkv(mixer, x)
    decay = torch.sigmoid(mixer.decay_up(mixer.decay_down(x))) ** (1 / 16)
    decay = split_heads(decay.clamp(min=torch.e**-1), 2)
    state, rows = torch.zeros(2, 2, 4, 4, dtype=x.dtype), []
    for i in range(x.shape[1]):
        state = decay[:, :, i, :, None] * state + k[:, :, i, :, None] * v[:, :, i, None, :]
        rows.append((q[:, :, i, None, :] / 2 @ state).squeeze(-2))
    return mixer.out(F.silu(mixer.gate(x)) * merge_heads(rms(torch.stack(rows, dim=2))))


def corrected(mixer, x, writing, decay):
    """The delta rule on states that decay: writing and decay are [B, N, H]."""
    short = F.silu(convolved(mixer.taps.T, mixer.qkv(x)))
    q, k, v = (split_heads(part, 2) for part in short.chunk(3, dim=-1))
    q, k = (part / part.norm(dim=-1, keepdim=True) for part in (q, k))
    state, rows = torch.zeros(2, 2, 4, 4, dtype=x.dtype), []
    for i in range(x.shape[1]):
        key, rate = k[:, :, i, :, None], writing[:, i, :, None, None]
        state = decay[:, i, :, None, None] * state
        state = state + key @ (rate * (v[:, :, i, None, :] - key.transpose(-2, -1) @ state))
        rows.append((q[:, :, i, None, :] @ state).squeeze(-2))
    return torch.stack(rows, dim=2)


def delta(mixer, x):
    writing = torch.sigmoid(mixer.rate(x))
    return mixer.out(merge_heads(rms(corrected(mixer, x, writing, torch.ones_like(writing)))))


def hyena(mixer, x):
    short = convolved(mixer.taps.T, mixer.project(x)) + mixer.taps_bias
    gate, key, value = short.chunk(3, dim=-1)
    mixed = convolved(mixer.filters(x.shape[1]), key * value)
    return mixer.out(gate * (mixed + mixer.skip * key * value))


def s4d(mixer, x):
    rate = torch.complex(-mixer.log_decay.exp(), mixer.frequency)
    turn = (rate * mixer.log_step.exp()).exp()  # zero-order hold
    state, rows = torch.zeros(2, 8, 3, dtype=torch.complex128), []
    for i in range(x.shape[1]):
        state = turn * state + (turn - 1) / rate * x[:, i, :, None]
        rows.append(2 * (torch.complex(mixer.mix[0], mixer.mix[1]) * state).sum(-1).real)
    return F.glu(mixer.out(F.gelu(torch.stack(rows, dim=1) + mixer.skip * x)))


def uniform(mixer, x):
    values = mixer.value(x)
    return mixer.out(torch.stack([values[:, : i + 1].mean(1) for i in range(x.shape[1])], dim=1))


def random_pointer(mixer, x):
    targets, values = mixer.targets(x, None), split_heads(mixer.value(x), 2)
    picked = [values[:, h, targets[0, h]] for h in range(2)]
    return mixer.out(torch.sigmoid(mixer.gate(x)) * torch.cat(picked, dim=-1))


def gated_delta(mixer, x):
    writing, step = mixer.rates(x).chunk(2, dim=-1)
    decay = (-mixer.log_rate.exp() * F.softplus(step + mixer.step_bias)).exp()
    read = corrected(mixer, x, torch.sigmoid(writing), decay) / 2  # the query over sqrt(width)
    return mixer.out(merge_heads(rms(read)) * F.silu(mixer.gate(x)))


def mamba2(mixer, x):
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


def based_taylor(mixer, x):
    q, k, v = (split_heads(p, 2) for p in mixer.mixer.qkv(x).split(mixer.mixer.parts, dim=-1))
    score = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    weights = (1 + score + score.square() / 2).tril()
    return mixer.mixer.out(merge_heads(weights / weights.sum(-1, keepdim=True) @ v))


def based_window(mixer, x):
    return rotary(mixer.mixer, x, window=3)
