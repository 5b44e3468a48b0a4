"""Operations are counted as formulas say, and every mixer as a hand count says."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointer.mixer import PointerMixer
from pointer.settings import CandidateSettings
from pointer.trunk import LayerShape
from workflow.bench import registry
from workflow.bench.measure import flops

V = 20


def operations(work):
    with flops.counter() as counter:
        work()
    return counter.get_total_flops()


@pytest.mark.parametrize(("causal", "share"), [(False, 1.0), (True, 0.5)])
def test_fused_attention_on_a_cpu_counts_its_two_products(causal, share):
    q, k, v = (torch.randn(2, 3, 16, 8, requires_grad=True) for _ in range(3))
    forward = operations(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal))
    assert forward == share * 2 * (2 * 2 * 3 * 16 * 16 * 8)
    with flops.counter() as both:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        out.backward(torch.ones_like(q))
    # The backward pass computes the scores again.
    assert both.get_total_flops() == pytest.approx(3.5 * forward, rel=0.01)


def test_products_count_two_operations_and_elementwise_work_one_an_element():
    x, y = torch.randn(6, 7), torch.randn(6, 7)
    assert operations(lambda: x @ y.t()) == 2 * 6 * 7 * 6  # a multiply and an add
    assert operations(lambda: x * y) == 42
    assert operations(lambda: x.sum(-1)) == 42
    assert operations(lambda: torch.linalg.vecdot(x, y)) == 84
    assert operations(lambda: x.t().contiguous()) == 0
    assert operations(lambda: torch.addcmul(x, x, y)) == 84
    assert operations(lambda: x.softmax(-1)) == flops.SOFTMAX * 42


def built(name, length, **settings):
    sizes = {"symbols": V, "length": length, "layers": 1, "width": 64, "heads": 2}
    return registry.build(name, **sizes, mixer=settings)


def test_counting_without_data_is_the_same_as_running():
    model = built("transformer", 96)
    traced, ran = flops._count_traced(model, 2, 96), flops._count_run(model, 2, 96)
    assert traced == flops.Work(ran.forward, ran.step, ran.saved_bytes, traced=True)


class Simple(nn.Module):
    """Logits from a table; subclasses add what the counter must cope with."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(V, V)

    def forward(self, tokens):
        return self.embedding(tokens)


def test_work_outside_torch_is_declared_by_the_module():
    class Kernel(Simple):
        def flops(self, batch, length):
            return 1000 * batch * length, 5000 * batch * length

    plain, declared = (flops.count(model, 2, 8) for model in (Simple(), Kernel()))
    assert declared.forward - plain.forward == 16_000
    assert declared.step - plain.step == 16_000 + 80_000


def test_periodic_work_counts_as_the_mean_over_a_period():
    class Periodic(Simple):
        period = 4
        calls = 0

        def forward(self, tokens):
            logits = super().forward(tokens)
            self.calls += self.training
            return logits * 1.5 if self.training and self.calls % 4 == 0 else logits

    plain, periodic = (flops.count(model, 1, 8) for model in (Simple(), Periodic()))
    # One product forward, one backward, every fourth step.
    assert periodic.step - plain.step == 2 * 8 * V / 4


def test_a_model_that_reads_its_data_is_run_instead_of_traced():
    class Reads(Simple):
        def forward(self, tokens):
            return super().forward(tokens) * (1.0 if int(tokens.sum()) >= 0 else 2.0)

    assert not flops.count(Reads(), 1, 8).traced


@pytest.mark.parametrize(
    "name", ["pointer", "pointer-formula", "longformer", "transformer", "transformer-unfused"]
)
def test_only_the_materialised_matrix_is_kept_for_the_backward_pass(name):
    least, most = (3.5, 4.1) if name == "transformer-unfused" else (1.98, 2.02)
    half, whole = (flops.count(built(name, n), 1, n) for n in (4096, 8192))
    assert least <= whole.saved_bytes / half.saved_bytes <= most


N, D, H = 512, 256, 8  # length, width, heads
E = D // H
P = 2 * N * D * D  # one projection d -> d
C = 64  # chunk of the linear recurrences


def attention(keys):
    """Scores and mixture of every position over so many keys: 2 d operations each a key."""
    return 4 * N * keys * D


def recurrence(feature, value):
    """In chunks: scores, mixture, what a chunk adds to the state and a query reads of it."""
    return 2 * N * H * (C * feature + C * value + 2 * feature * value)


def fft(channels, points):
    return 2.5 * channels * points * math.log2(points)


# Products by hand, and the share that elementwise work (masks, softmax, norms, rotations) may add
# to them.
BY_HAND = {
    "pointer": (2 * N * D * (2 * 32 + D) + N * 64 * (2 * 32 + 4) + N * D, 0.03),
    "pointer-formula": (2 * N * D * (2 * 32 + D) + 2 * N * (256 + 512) / 2 * 32, 0.01),
    "pointer-dense": (2 * N * D * (2 * 32 + D) + 2 * N * (256 + 512) / 2 * 32, 0.01),
    "transformer": (4 * P + attention(N / 2), 0.0),
    "transformer-unfused": (4 * P + attention(N), 0.03),
    "transformer-rotary": (4 * P + attention(N / 2), 0.01),
    "transformer-relative": (4 * P + attention((128 + 256 + 384 + 512) / 4), 0.03),
    "transformer-content": (4 * P + attention(N / 2), 0.03),
    "longformer": (4 * P + attention(3 * 128), 0.01),
    "local": (4 * P + attention(2 * 64), 0.01),
    "logsparse": (4 * P + attention(10), 0.03),
    # 192 tiles of 64 pairs, 64 keys each
    "moba": (4 * P + attention(64) + 2 * N * D * 8 + 4 * 192 * 64 * 64 * E, 0.03),
    "reformer": (3 * P + 4 * attention(2 * 64) + 4 * 2 * N * D * 4, 0.05),
    "linear-attention": (4 * P + recurrence(E, E + 1), 0.02),
    "performer": (4 * P + 2 * 2 * N * H * E * 64 + recurrence(64, E + 1), 0.02),
    "retnet": (5 * P + recurrence(E, E), 0.02),
    "gla": (5 * P + 2 * 2 * N * D * 16 + recurrence(E, E), 0.02),
    "deltanet": (4 * P + 2 * N * D * H + 2 * N * H * (4 * C * E + 3 * E * E), 0.02),
    "hyena": (4 * P + 3 * fft(D, 2 * N) + 2 * N * (33 * 64 + 2 * 64 * 64 + 64 * D), 0.02),
    "s4d": (2 * P + 3 * fft(D, 2 * N) + 2 * D * N * 64, 0.02),
    "identity": (0, 0.0),
    "uniform": (2 * P, 0.01),
    "random-pointer": (3 * P, 0.01),
}


def counted(name):
    """Operations of one forward pass of the first layer's mixer in inference."""
    mixer = registry.load(name)
    shape = LayerShape(D, H, N, 0, 6)
    module = mixer(shape, mixer.Settings()) if hasattr(mixer, "Settings") else mixer(shape)
    with flops.counter() as counter, torch.no_grad():
        module.eval()(torch.randn(1, N, D), None)
    return counter.get_total_flops() + (module.flops(1, N)[0] if hasattr(module, "flops") else 0)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_mixers_work_is_what_a_hand_count_says(name):
    by_hand, elementwise = BY_HAND[name]
    assert by_hand <= counted(name) <= by_hand * (1 + elementwise)


def both_ways(**chosen):
    mixer = PointerMixer(LayerShape(D, H, N, 0, 6), CandidateSettings(**chosen)).train()
    x = torch.randn(1, N, D, requires_grad=True)
    with flops.counter() as forward:
        out, _ = mixer(x, None)
    with flops.counter() as backward:
        out.sum().backward()
    declared = mixer.flops(1, N)
    return forward.get_total_flops() + declared[0], backward.get_total_flops() + declared[1]


@pytest.mark.parametrize(
    "chosen",
    [{}, {"gate": False}, {"value": True}, {"credit": "none"}, {"candidates": "offsets+content"}],
    ids=str,
)
def test_what_the_kernels_declare_is_what_torch_counts_of_the_same_steps(chosen):
    """Plain torch also adds up all K weighted values, where a kernel copies one."""
    sums = 2 * N * 64 * D
    plain, compiled = both_ways(fused=False, **chosen), both_ways(fused=True, **chosen)
    assert compiled[0] == pytest.approx(plain[0] - sums, rel=0.03)
    assert 0.95 * (plain[1] - sums) <= compiled[1] <= plain[1] - sums
