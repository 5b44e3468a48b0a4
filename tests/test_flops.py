"""Are operations counted as formulas say, and do quadratic models come out quadratic and linear
ones linear?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workflow.bench import registry
from workflow.bench.measure import flops

V = 20


def operations(work: Callable[[], object]) -> int:
    with flops.counter() as counter:
        work()
    return counter.get_total_flops()


def test_matrix_products_count_two_operations_a_multiply_add() -> None:
    assert operations(lambda: torch.randn(3, 5) @ torch.randn(5, 7)) == 2 * 3 * 5 * 7


@pytest.mark.parametrize(("causal", "share"), [(False, 1.0), (True, 0.5)])
def test_fused_attention_on_a_cpu_counts_its_two_products(causal: bool, share: float) -> None:
    q, k, v = (torch.randn(2, 3, 16, 8, requires_grad=True) for _ in range(3))
    forward = operations(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal))
    assert forward == share * 2 * (2 * 2 * 3 * 16 * 16 * 8)
    both = operations(
        lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal).backward(
            torch.ones_like(q)
        )
    )
    assert both == pytest.approx(
        3.5 * forward, rel=0.01
    )  # the backward pass computes the scores again


def test_elementwise_work_and_reductions_count_an_operation_an_element() -> None:
    x, y = torch.randn(6, 7), torch.randn(6, 7)
    assert operations(lambda: x * y) == 42
    assert operations(lambda: x.sum(-1)) == 42
    assert operations(lambda: torch.linalg.vecdot(x, y)) == 84
    assert operations(lambda: x.t().contiguous()) == 0
    assert operations(lambda: torch.addcmul(x, x, y)) == 84
    assert operations(lambda: x.softmax(-1)) == flops.SOFTMAX * 42


def built(name: str, length: int, **settings: Any) -> nn.Module:
    return registry.build(
        name, symbols=V, length=length, layers=1, width=64, heads=2, mixer=settings
    )


def work(name: str, length: int, **settings: Any) -> flops.Work:
    return flops.count(built(name, length, **settings), 1, length)


def test_pointer_comes_out_linear_its_kernel_included() -> None:
    half, whole = work("pointer", 512), work("pointer", 1024)
    assert whole.forward / half.forward <= 2.02
    assert whole.step / half.step <= 2.02
    assert whole.saved_bytes / half.saved_bytes <= 2.02
    outside = sum(
        module.flops(1, 512)[0]
        for module in built("pointer", 512).modules()
        if hasattr(module, "flops")
    )  # type: ignore[operator]
    assert half.forward > outside > 0


def test_counting_without_data_is_the_same_as_running() -> None:
    model = built("transformer", 96)
    traced, ran = flops._count_traced(model, 2, 96), flops._count_run(model, 2, 96)
    assert traced == flops.Work(ran.forward, ran.step, ran.saved_bytes, traced=True)


class Simple(nn.Module):
    """Logits from a table; subclasses add what the counter must cope with."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, V)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.embedding(tokens)
        return logits


def test_work_outside_torch_is_declared_by_the_module() -> None:
    class Kernel(Simple):
        def flops(self, batch: int, length: int) -> tuple[int, int]:
            return 1000 * batch * length, 5000 * batch * length

    plain, declared = (flops.count(model, 2, 8) for model in (Simple(), Kernel()))
    assert declared.forward - plain.forward == 16_000
    assert declared.step - plain.step == 16_000 + 80_000


def test_periodic_work_counts_as_the_mean_over_a_period() -> None:
    class Periodic(Simple):
        period = 4
        calls = 0

        def forward(self, tokens: Tensor) -> Tensor:
            logits = super().forward(tokens)
            self.calls += self.training
            return logits * 1.5 if self.training and self.calls % 4 == 0 else logits

    plain, periodic = (flops.count(model, 1, 8) for model in (Simple(), Periodic()))
    elements = 8 * V
    assert (
        periodic.step - plain.step == 2 * elements / 4
    )  # one product forward, one backward, every fourth step


def test_a_model_that_reads_its_data_is_run_instead_of_traced() -> None:
    class Reads(Simple):
        def forward(self, tokens: Tensor) -> Tensor:
            return super().forward(tokens) * (1.0 if int(tokens.sum()) >= 0 else 2.0)

    assert not flops.count(Reads(), 1, 8).traced


GROWTH = {
    "linear": (1.9, 2.02),
    "n log n": (1.9, 2.25),
    "quadratic": (2.01, 4.1),
    "quadratic-unfused": (2.5, 4.1),
}


@pytest.mark.parametrize("name", [name for name in registry.names() if registry.info(name).trained])
def test_a_models_declared_cost_is_what_is_counted(name: str) -> None:
    low, high = GROWTH[registry.info(name).cost]
    half, whole = work(name, 2048), work(name, 4096)
    assert low <= whole.forward / half.forward <= high
    assert low <= whole.step / half.step <= high


def test_only_the_materialised_matrix_is_kept_for_the_backward_pass() -> None:
    ratios = {
        name: work(name, 8192).saved_bytes / work(name, 4096).saved_bytes
        for name in ("transformer", "transformer-unfused")
    }
    assert ratios["transformer"] == pytest.approx(2, rel=0.01)
    assert ratios["transformer-unfused"] > 3.5
