"""Time each mixer alone, forward and with backward, at the paper's shortest and longest N.

    python -m pytest benchmarks --benchmark-only --benchmark-json=mixers.json

Groups are lengths; about 4096 tokens a call, float32, all threads that this process may use. The
trunk's cost is not in it: the experiment `efficiency` times whole training steps. A model of yours
that fails its contract is skipped with the reason; tests hold the suite's models to theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from pointer.trunk import Mixer, Trunk
from workflow.bench import registry
from workflow.bench.cell import affinity
from workflow.bench.measure import memory
from workflow.bench.rows import contracts, lock
from workflow.bench.rows.provenance import machine_label
from workflow.bench.tasks.base import Task

LENGTHS = (256, 2048)
WIDTH = 256
MACHINE = machine_label("cpu", "")
MODELS = [name for name in registry.names() if registry.info(name).trained and name != "identity"]


@pytest.fixture(scope="module", autouse=True)
def refused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Yield the reason for each model that may not be timed, while no other row is measured."""
    reasons = {}
    for name in MODELS:
        if registry.info(name).group == "own":
            scratch = tmp_path_factory.mktemp(name)
            verdict = contracts.verdict(name, {}, contracts.path(name, {}), scratch)
            reasons[name] = verdict.reason
    torch.set_num_threads(affinity())
    memory.keep_freed_memory()
    with lock.hold(exclusive=True):
        yield reasons


def upper_mixer(name: str, length: int) -> tuple[Mixer, Tensor, Any]:
    """Return the upper mixer of two in training mode, its input float[B, N, d] and its carry."""
    torch.manual_seed(0)
    model = registry.build(name, symbols=20, length=length, layers=2, width=WIDTH).train()
    assert isinstance(model, Trunk)
    model.set_progress(0.0)
    x = torch.randn(max(1, Task.step_tokens // length), length, WIDTH)
    with torch.no_grad():
        carry = model.mixers[0](x, None)[1]
    return model.mixers[1], x, carry


def forward(mixer: Mixer, x: Tensor, carry: Any) -> Callable[[], None]:
    """Return a call of hard inference."""
    mixer.eval()

    def call() -> None:
        with torch.no_grad():
            mixer(x, carry)

    return call


def backward(mixer: Mixer, x: Tensor, carry: Any) -> Callable[[], None]:
    """Return a call of training: forward, and gradients of the input and the weights."""
    x.requires_grad_()
    gradient = torch.randn_like(x)

    def call() -> None:
        mixer.zero_grad(set_to_none=True)
        x.grad = None
        mixer(x, carry)[0].backward(gradient)

    return call


@pytest.mark.benchmark(
    min_rounds=3, max_time=0.2, warmup=True, warmup_iterations=1, disable_gc=True
)
@pytest.mark.parametrize("phase", [forward, backward], ids=["forward", "forward-backward"])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("model", MODELS)
def test_mixer(
    benchmark: Any,
    refused: dict[str, str],
    model: str,
    length: int,
    phase: Callable[..., Callable[[], None]],
) -> None:
    if refused.get(model):
        pytest.skip(refused[model])
    mixer, x, carry = upper_mixer(model, length)
    call = phase(mixer, x, carry)
    benchmark.group = f"N={length} {phase.__name__}"
    benchmark.extra_info.update(
        machine=MACHINE,
        model=model,
        length=length,
        batch=len(x),
        threads=torch.get_num_threads(),
    )
    benchmark(call)
