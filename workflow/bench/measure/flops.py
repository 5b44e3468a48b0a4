"""Count the operations of a model, and the bytes that its forward pass keeps for the backward pass.

`formulas` adds to torch's own (matrix products, convolutions):
    causal attention    half the N x N square: the CPU kernel skips blocks of the future
    FFT of n points     5 n log2 n complex, half of that real (the count of FFTW's benchmarks)
    triangular solve    n^2 for each right-hand side of n numbers
    elementwise, sums   1 operation per element, complex or not, addcmul 2; softmax 5 and layer
                        norm 8 (SOFTMAX, NORM), twice that backward
Work outside torch's operators (numba, Triton) is invisible: a mixer declares it by a method
    flops(batch, length) -> (operations of a forward pass, operations of a backward pass)
Models are traced on tensors without data (FakeTensorMode), at no cost for any N; a model that
declares `flops`, or whose control flow needs data, runs on the CPU.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from workflow.bench.measure.memory import SavedBytes

aten = torch.ops.aten
SOFTMAX, NORM = 5, 8  # operations per element of a forward pass
Formula = Callable[..., int]  # argument shapes, `out_shape` -> operations


@dataclass(frozen=True)
class Work:
    """Counted work of one batch."""

    forward: int  # operations of hard inference
    step: int  # operations of forward and backward in training, the mean over a period
    saved_bytes: int  # kept for the backward pass without parameters, the most over a period
    traced: bool  # counted without data


def count(model: nn.Module, batch: int, length: int) -> Work:
    """Return the work of a batch int64[B, N] of zeros, on a CPU copy of the model.

    The step of a frozen model (`trainable = False`) is its forward pass.
    """
    if not _declaring(model):
        with torch.no_grad():  # one real call, so that modules do not cache tensors without data
            copy.deepcopy(model).cpu().train()(torch.zeros(1, 1, dtype=torch.int64))
        with contextlib.suppress(Exception):  # FakeTensor's many errors for control flow by data
            return _count_traced(model, batch, length)
    return _count_run(model, batch, length)


def period(model: nn.Module) -> int:
    """Return the steps after which a model's work repeats: the lcm of its mixers' `period`."""
    return math.lcm(*(int(getattr(module, "period", 1)) for module in model.modules()))


def _declaring(model: nn.Module) -> list[Any]:
    """Return the modules that declare work outside torch's operators."""
    return [module for module in model.modules() if hasattr(module, "flops")]


def _count_traced(model: nn.Module, batch: int, length: int) -> Work:
    model = copy.deepcopy(model).cpu()
    # Tokens without data have no values to check.
    unchecked = mock.patch("pointer.trunk.check_tokens")
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, unchecked:
        state: dict[str, Tensor] = {}
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            state[name] = mode.from_tensor(tensor)
        tokens = torch.zeros(batch, length, dtype=torch.int64)

        def forward() -> Tensor:
            logits: Tensor = torch.func.functional_call(model, state, (tokens,))
            return logits

        return _count(model, list(state.values()), forward, tokens, traced=True)


def _count_run(model: nn.Module, batch: int, length: int) -> Work:
    model = copy.deepcopy(model).cpu()
    tokens = torch.zeros(batch, length, dtype=torch.int64)
    return _count(model, list(model.parameters()), lambda: model(tokens), tokens, traced=False)


def _count(
    model: nn.Module,
    state: list[Tensor],
    forward: Callable[[], Tensor],
    tokens: Tensor,
    *,
    traced: bool,
) -> Work:
    declared = [module.flops(*tokens.shape) for module in _declaring(model)]
    declared_forward = sum(operations for operations, _ in declared)
    declared_backward = sum(operations for _, operations in declared)
    model.eval()
    with counter() as inference, torch.no_grad():
        forward()
    inferred = inference.get_total_flops() + declared_forward
    if not getattr(model, "trainable", True):
        return Work(inferred, inferred, 0, traced)
    model.train()
    saved_bytes, steps = 0, period(model)
    with counter() as training:
        for _ in range(steps):
            for tensor in state:
                tensor.grad = None  # gradients are not added up over steps
            with SavedBytes(state) as saved:
                logits = forward()
            saved_bytes = max(saved_bytes, saved.bytes)
            F.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
    step = training.get_total_flops() // steps + declared_forward + declared_backward
    return Work(inferred, step, saved_bytes, traced)


def counter() -> FlopCounterMode:
    """Return a counter of operations that uses `formulas`."""
    return FlopCounterMode(display=False, custom_mapping=formulas())


@lru_cache(maxsize=1)
def formulas() -> dict[Any, Formula]:
    """Return operator -> formula, for FlopCounterMode's `custom_mapping`."""
    result: dict[Any, Formula] = dict.fromkeys(_pointwise_operators(), _output)
    result |= dict.fromkeys(_READ_ONCE, _times(1))
    result |= dict.fromkeys(_ADD, _source)
    return result | _NAMED


def _pointwise_operators() -> set[Any]:
    """Return the operators that torch tags as elementwise arithmetic, without copying."""
    operators = set()
    for name in torch._C._dispatch_get_all_op_names():
        namespace, _, rest = name.partition("::")
        packet, _, overload = rest.partition(".")
        if namespace == "aten" and packet not in ("clone", "positive"):
            operator = getattr(getattr(aten, packet, None), overload or "default", None)
            if operator is not None and torch.Tag.pointwise in operator.tags:
                operators.add(operator.overloadpacket)
    return operators


def _elements(shape: Any) -> int:
    """Return the elements of a shape, of the first if an operator returns several."""
    if isinstance(shape, torch.Size):
        return math.prod(shape)
    return _elements(shape[0]) if isinstance(shape, tuple | list) and shape else 0


def _output(*args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return _elements(out_shape)


def _source(first: Any, dim: Any, index: Any, source: Any, *args: Any, **kwargs: Any) -> int:
    return _elements(source)


def _times(factor: int) -> Formula:
    """Return the formula `factor` operations per element of the first argument."""

    def formula(first: Any, *args: Any, **kwargs: Any) -> int:
        return factor * _elements(first)

    return formula


def _vecdot(a: Any, b: Any, *args: Any, **kwargs: Any) -> int:
    return int(2 * math.prod(torch.broadcast_shapes(a, b)))


def _addcmul(*args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * _elements(out_shape)


def _solve_triangular(system: Any, right: Any, *args: Any, **kwargs: Any) -> int:
    """n^2 for each right-hand side of n numbers: half a matrix-vector product."""
    return _elements(kwargs["out_shape"]) * int(system[-1])


def _attention(
    q: Any, k: Any, v: Any, dropout: float = 0.0, is_causal: bool = False, **kwargs: Any
) -> int:
    return int(sdpa_flop_count(q, k, v)) // (2 if is_causal else 1)


def _attention_backward(*args: Any, **kwargs: Any) -> int:
    grad, q, k, v, _out, _logsumexp, _dropout, is_causal = args[:8]
    return int(sdpa_backward_flop_count(grad, q, k, v)) // (2 if is_causal else 1)


def _fft(per_point: float, *, of_output: bool = False) -> Formula:
    """Return the formula `per_point` n log2 n for every transform of n points along `dims`."""

    def formula(first: Any, dims: list[int], *args: Any, out_shape: Any = None, **kw: Any) -> int:
        shape = out_shape if of_output else first
        points = math.prod(shape[dim] for dim in dims)
        return int(per_point * _elements(shape) * math.log2(points)) if points else 0

    return formula


def _sort(first: Any, *args: Any, **kwargs: Any) -> int:
    """n log2 n comparisons along the last axis; also an upper bound for topk."""
    return int(_elements(first) * math.log2(max(2, first[-1]))) if first else 0


_READ_ONCE = (
    *(aten.sum, aten.mean, aten.prod, aten.amax, aten.amin, aten.argmax, aten.argmin),
    *(aten.cumsum, aten.cumprod, aten.logsumexp, aten.logcumsumexp, aten.linalg_vector_norm),
    *(aten.std, aten.var, aten.nll_loss_forward, aten.embedding_dense_backward),
)
_ADD = (aten.scatter_add, aten.scatter_add_, aten.index_add, aten.index_add_)
_NAMED: dict[Any, Formula] = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    aten._fft_c2c: _fft(5.0),
    aten._fft_r2c: _fft(2.5),
    aten._fft_c2r: _fft(2.5, of_output=True),
    aten.linalg_vecdot: _vecdot,
    **dict.fromkeys((aten.dot, aten.vdot, aten.mv), _times(2)),
    aten.linalg_solve_triangular: _solve_triangular,
    **dict.fromkeys((aten.addcmul, aten.addcmul_), _addcmul),
    **dict.fromkeys((aten.sort, aten.topk), _sort),
    **dict.fromkeys((aten._softmax, aten._log_softmax, aten._safe_softmax), _times(SOFTMAX)),
    **dict.fromkeys(
        (aten._softmax_backward_data, aten._log_softmax_backward_data), _times(2 * SOFTMAX)
    ),
    aten.native_layer_norm: _times(NORM),
    aten.native_layer_norm_backward: _times(2 * NORM),
    aten._fused_rms_norm: _times(NORM),
    aten._fused_rms_norm_backward: _times(2 * NORM),
}
