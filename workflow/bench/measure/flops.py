"""Counted work of a model: floating-point operations and the bytes that its forward pass keeps for the backward pass.

`torch.utils.flop_counter` alone counts matrix products and convolutions, and nothing for fused attention on CPU, FFTs,
vecdot, triangular solves, softmax, norms and elementwise work, so that a fused Transformer looks linear. `formulas`
adds those:
    matrix products     2 operations a multiply-add (torch's own formulas)
    causal attention    half the N x N square: the CPU kernel skips blocks of the future
    FFT of n points     5 n log2 n complex, half of that real (the usual count, as in FFTW's benchmarks)
    triangular solve    n^2 a right-hand side of n numbers
    elementwise, sums   one operation an element, complex or not, addcmul 2; softmax 5, layer norm 8 (SOFTMAX, NORM),
                        twice that backward
Work outside torch's operators (numba, Triton) is unseen: a mixer that has any declares it by a method
    flops(batch, length) -> (operations of a forward pass, operations of a backward pass)
which counts only what the operators do not show on a CPU.

Models are traced on data-free tensors (FakeTensorMode), which costs nothing at any N; one that declares `flops`, or
whose control flow needs data, runs on the CPU.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from workflow.bench.measure.memory import SavedBytes

aten = torch.ops.aten
SOFTMAX, NORM = 5, 8  # operations an element of a forward pass
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """Counted work of one batch. `traced` tells whether it was counted without data."""

    forward: int  # operations of hard inference
    step: int  # operations of forward and backward in training, the mean over a period
    saved_bytes: int  # kept for the backward pass, the most over a period, parameters left out
    traced: bool


def count(model: nn.Module, batch: int, length: int, symbols: int) -> Work:
    """Work of a batch int64[B, N] of zeros, on a copy of the model on the CPU, whatever device it is on.

    A frozen model (`trainable = False`) has no step: its step and saved bytes are those of the forward pass and 0.
    """
    if any(hasattr(module, "flops") for module in model.modules()):
        return _count_run(model, batch, length, symbols)
    _fill_caches(model)
    try:
        return _count_traced(model, batch, length, symbols)
    except Exception:  # whatever a model does with its data, data-free tensors refuse it in as many ways
        return _count_run(model, batch, length, symbols)


def period(model: nn.Module) -> int:
    """Steps after which a model's work repeats: the least common multiple of its mixers' `period`, 1 where none
    declares any."""
    return math.lcm(*(int(getattr(module, "period", 1)) for module in model.modules()))


def _fill_caches(model: nn.Module) -> None:
    """A first real call, so that what a module caches is not made of data-free tensors."""
    with torch.no_grad():
        copy.deepcopy(model).cpu().train()(torch.zeros(1, 1, dtype=torch.int64))


def _count_traced(model: nn.Module, batch: int, length: int, symbols: int) -> Work:
    own = copy.deepcopy(model).cpu()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, _unchecked_tokens():
        state: dict[str, Tensor] = {
            name: mode.from_tensor(tensor) for name, tensor in [*own.named_parameters(), *own.named_buffers()]
        }
        tokens = torch.zeros(batch, length, dtype=torch.int64)
        forward = lambda: torch.func.functional_call(own, state, (tokens,))  # noqa: E731
        return _count(own, list(state.values()), forward, tokens, symbols, traced=True)


def _count_run(model: nn.Module, batch: int, length: int, symbols: int) -> Work:
    own = copy.deepcopy(model).cpu()
    tokens = torch.zeros(batch, length, dtype=torch.int64)
    return _count(own, list(own.parameters()), lambda: own(tokens), tokens, symbols, traced=False)


def _count(
    model: nn.Module, state: list[Tensor], forward: Callable[[], Tensor], tokens: Tensor, symbols: int, *, traced: bool
) -> Work:
    outside_forward, outside_backward = _outside(model, *tokens.shape)
    model.eval()
    with _counter() as inference, torch.no_grad():
        forward()
    inferred = inference.get_total_flops() + outside_forward
    if not getattr(model, "trainable", True):
        return Work(inferred, inferred, 0, traced)
    model.train()
    kept, steps = 0, period(model)
    with _counter() as training:
        for _ in range(steps):
            for tensor in state:
                tensor.grad = None  # gradients are not added up over steps
            with SavedBytes(state) as saved:
                logits = forward()
            kept = max(kept, saved.bytes)
            F.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
    step = training.get_total_flops() // steps + outside_forward + outside_backward
    return Work(inferred, step, kept, traced)


def _outside(model: nn.Module, batch: int, length: int) -> tuple[int, int]:
    """Operations that mixers declare beyond torch's operators: (forward, backward)."""
    declared = [cast(Any, module).flops(batch, length) for module in model.modules() if hasattr(module, "flops")]
    return sum(forward for forward, _ in declared), sum(backward for _, backward in declared)


@contextmanager
def _unchecked_tokens() -> Iterator[None]:
    """Data-free tokens have no values to check."""
    with mock.patch("pointer.trunk.check_tokens"):
        yield


def _counter() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping=formulas())


@lru_cache(maxsize=1)
def formulas() -> dict[Any, Callable[..., int]]:
    """Operator -> operations from the shapes of its arguments, for FlopCounterMode's `custom_mapping`."""
    elementwise: dict[Any, Callable[..., int]] = dict.fromkeys(_pointwise_operators(), _output)
    return elementwise | dict.fromkeys(_READ_ONCE, _input) | dict.fromkeys(_ADD, _source) | _NAMED


def _pointwise_operators() -> set[Any]:
    """Every operator that torch itself tags as elementwise arithmetic; copying is not arithmetic."""
    found = set()
    for name in torch._C._dispatch_get_all_op_names():
        namespace, _, rest = name.partition("::")
        packet, _, overload = rest.partition(".")
        if namespace == "aten" and packet not in ("clone", "positive"):
            operator = getattr(getattr(aten, packet, None), overload or "default", None)
            if operator is not None and torch.Tag.pointwise in operator.tags:
                found.add(operator.overloadpacket)
    return found


def _elements(shape: Any) -> int:
    """Elements of a shape, of the first shape where an operator returns several."""
    if isinstance(shape, torch.Size):
        return math.prod(shape)
    return _elements(shape[0]) if isinstance(shape, tuple | list) and shape else 0


def _output(*args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return _elements(out_shape)


def _twice_output(*args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * _elements(out_shape)


def _input(first: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return _elements(first)


def _source(first: Any, dim: Any, index: Any, source: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return _elements(source)


def _times(factor: int) -> Callable[..., int]:
    return lambda first, *args, out_shape=None, **kwargs: factor * _elements(first)


def _vecdot(a: Any, b: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return int(2 * math.prod(torch.broadcast_shapes(a, b)))


def _dot(a: Any, b: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * _elements(a)


def _causal_share(is_causal: bool) -> float:
    return 0.5 if is_causal else 1.0


def _solve_triangular(system: Any, right: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """n^2 for each right-hand side of n numbers: half a matrix-vector product."""
    return _elements(out_shape) * int(system[-1])


def _attention(q: Any, k: Any, v: Any, dropout: float = 0.0, is_causal: bool = False, **kwargs: Any) -> int:
    return int(sdpa_flop_count(q, k, v) * _causal_share(is_causal))


def _attention_backward(
    grad: Any,
    q: Any,
    k: Any,
    v: Any,
    out: Any,
    logsumexp: Any,
    dropout: float,
    is_causal: bool,
    *args: Any,
    **kwargs: Any,
) -> int:
    return int(sdpa_backward_flop_count(grad, q, k, v) * _causal_share(is_causal))


def _transform(first: Any, dims: list[int], per_point: float) -> int:
    """`per_point` n log2 n for every transform of n points along `dims`."""
    points = math.prod(first[dim] for dim in dims)
    return int(per_point * _elements(first) * math.log2(points)) if points > 1 else 0


def _fft_c2c(first: Any, dims: list[int], *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return _transform(first, dims, 5.0)


def _fft_r2c(first: Any, dims: list[int], *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return _transform(first, dims, 2.5)


def _fft_c2r(first: Any, dims: list[int], *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return _transform(out_shape, dims, 2.5)


def _sort(first: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """n log2 n comparisons along the last axis; also an upper bound for topk."""
    return int(_elements(first) * math.log2(max(2, first[-1]))) if first else 0


_READ_ONCE = (
    *(aten.sum, aten.mean, aten.prod, aten.amax, aten.amin, aten.argmax, aten.argmin, aten.cumsum, aten.cumprod),
    *(aten.logsumexp, aten.logcumsumexp, aten.linalg_vector_norm, aten.std, aten.var),
    *(aten.nll_loss_forward, aten.embedding_dense_backward),
)
_ADD = (aten.scatter_add, aten.scatter_add_, aten.index_add, aten.index_add_)
_NAMED: dict[Any, Callable[..., int]] = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    aten._fft_c2c: _fft_c2c,
    aten._fft_r2c: _fft_r2c,
    aten._fft_c2r: _fft_c2r,
    aten.linalg_vecdot: _vecdot,
    aten.dot: _dot,
    aten.vdot: _dot,
    aten.mv: _dot,
    aten.linalg_solve_triangular: _solve_triangular,
    aten.addcmul: _twice_output,
    aten.addcmul_: _twice_output,
    aten.sort: _sort,
    aten.topk: _sort,
    aten._softmax: _times(SOFTMAX),
    aten._log_softmax: _times(SOFTMAX),
    aten._safe_softmax: _times(SOFTMAX),
    aten._softmax_backward_data: _times(2 * SOFTMAX),
    aten._log_softmax_backward_data: _times(2 * SOFTMAX),
    aten.native_layer_norm: _times(NORM),
    aten.native_layer_norm_backward: _times(2 * NORM),
    aten._fused_rms_norm: _times(NORM),
    aten._fused_rms_norm_backward: _times(2 * NORM),
}
