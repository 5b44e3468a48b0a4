"""How long does each mixer alone take, forward and with backward, at the paper's shortest and longest N?

    python -m pytest benchmarks --benchmark-only --benchmark-json=mixers.json

Groups are lengths; about 4096 tokens a call, float32, all threads that this process may use. What the trunk costs
is not in it: see the experiment `efficiency` for whole training steps. A model of yours that breaks its contract is
skipped with the reason (tests hold the others to it).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from pointer.trunk import Mixer, Trunk
from workflow.bench import registry
from workflow.bench.cell import STEP_TOKENS, affinity
from workflow.bench.measure import memory
from workflow.bench.rows import contracts, lock
from workflow.bench.rows.provenance import machine_label

LENGTHS = (256, 2048)
WIDTH = 256
MACHINE = machine_label("cpu", "")
MODELS = [name for name in registry.names() if registry.info(name).trained and name != "identity"]

brief = pytest.mark.benchmark(min_rounds=3, max_time=0.2, warmup=True, warmup_iterations=1, disable_gc=True)


@pytest.fixture(scope="module", autouse=True)
def refused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Why a model may not be timed, by model. All threads that this process may use, and nothing of the suite beside
    it."""
    own = [name for name in MODELS if registry.info(name).group == "own"]
    scratch = tmp_path_factory.mktemp("contracts")
    reasons = {}
    for name in own:
        verdict = contracts.verdict(name, {}, contracts.path(name, {}), scratch, sys.stderr)
        if verdict.reason:
            reasons[name] = verdict.reason
    torch.set_num_threads(affinity())
    memory.keep_freed_memory()
    with lock.hold(exclusive=True):
        yield reasons


def subject(name: str, length: int) -> tuple[Mixer, Tensor, Any]:
    """The upper mixer of a two-layer model in training mode, its input float[B, N, d], the lower mixer's carry."""
    torch.manual_seed(0)
    model = registry.build(name, symbols=20, length=length, layers=2, width=WIDTH).train()
    assert isinstance(model, Trunk)
    model.set_progress(0.0)
    x = torch.randn(max(1, STEP_TOKENS // length), length, WIDTH)
    with torch.no_grad():
        carry = model.mixers[0](x, None)[1]
    return model.mixers[1], x, carry


def forward(mixer: Mixer, x: Tensor, carry: Any) -> Callable[[], None]:
    """Hard inference."""
    mixer.eval()

    def call() -> None:
        with torch.no_grad():
            mixer(x, carry)

    return call


def backward(mixer: Mixer, x: Tensor, carry: Any) -> Callable[[], None]:
    """Forward and backward in training mode, gradients to the input and to the weights."""
    x.requires_grad_()
    gradient = torch.randn_like(x)

    def call() -> None:
        mixer.zero_grad(set_to_none=True)
        x.grad = None
        mixer(x, carry)[0].backward(gradient)

    return call


@brief
@pytest.mark.parametrize("what", [forward, backward], ids=["forward", "forward-backward"])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("model", MODELS)
def test_mixer(
    benchmark: Any, refused: dict[str, str], model: str, length: int, what: Callable[..., Callable[[], None]]
) -> None:
    if model in refused:
        pytest.skip(refused[model])
    mixer, x, carry = subject(model, length)
    call = what(mixer, x, carry)
    benchmark.group = f"N={length} {what.__name__}"
    benchmark.extra_info.update(
        machine=MACHINE, model=model, length=length, batch=len(x), threads=torch.get_num_threads()
    )
    benchmark(call)
