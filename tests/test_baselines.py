"""Every baseline of the five first models and the controls: equal to a slow twin, causal, any N, of the right size."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from baselines.chance import Chance
from baselines.identity import Identity
from baselines.longformer import SlidingWindowAttention
from baselines.oracle_copy import OracleCopy
from baselines.parts.heads import HeadMixer, split_heads, whole_numbers
from baselines.random_pointer import RandomPointer
from baselines.transformer import Attention
from baselines.transformer_unfused import UnfusedAttention
from baselines.uniform import UniformAverage
from pointer.errors import InputError
from pointer.trunk import LayerShape, Mixer, Trunk, count_parameters
from workflow.bench import registry

SHAPE = LayerShape(width=8, heads=2, length=64, layer=1, layers=2)
TRAINED = [
    name
    for name in registry.names()
    if registry.info(name).trained and registry.info(name).path.startswith("baselines.")
]


def masked_dense(mixer: HeadMixer, x: Tensor, visible: Callable[[int, int, int], bool]) -> Tensor:
    """The slow twin of every attention: `visible(head, i, j)` decides which of the N x N scores count."""
    length = x.shape[1]
    q, k, v = (split_heads(part, mixer.heads) for part in mixer.qkv(x).chunk(3, dim=-1))
    mask = torch.tensor(
        [[[visible(h, i, j) and j <= i for j in range(length)] for i in range(length)] for h in range(mixer.heads)]
    )
    scores = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).masked_fill(~mask, float("-inf"))
    mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape)
    out: Tensor = mixer.out(mixed)
    return out


def assert_twins(mixer: Mixer, x: Tensor, slow: Callable[[Tensor], Tensor]) -> None:
    """Outputs, the input's gradient and every parameter's gradient agree within 1e-9 in float64."""
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=x.dtype)
    results = []
    for run in (lambda inputs: mixer(inputs, None)[0], slow):
        inputs = x.clone().requires_grad_()
        y = run(inputs)
        gradients = torch.autograd.grad((y * weight).sum(), [inputs, *mixer.parameters()])
        results.append([y, *gradients])
    for fast, expected in zip(*results, strict=True):
        torch.testing.assert_close(fast, expected, rtol=1e-9, atol=1e-9)


def grown(mixer: Mixer) -> Mixer:
    """In float64 and with weights large enough that the softmax is far from uniform."""
    torch.manual_seed(1)
    for parameter in mixer.parameters():
        nn.init.normal_(parameter, std=0.7)
    return mixer.double()


def inputs(length: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, length, SHAPE.width, generator=torch.Generator().manual_seed(length), dtype=torch.float64)


@pytest.mark.parametrize("length", [1, 2, 7, 16])
@pytest.mark.parametrize("kind", [Attention, UnfusedAttention])
def test_attention_equals_masked_dense_form(kind: type[HeadMixer], length: int) -> None:
    mixer = kind(SHAPE)
    grown(mixer)
    assert_twins(mixer, inputs(length), lambda x: masked_dense(mixer, x, lambda head, i, j: True))


@settings(deadline=None, max_examples=60)
@given(
    length=st.integers(1, 26),
    window=st.integers(1, 9),
    dilations=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    global_tokens=st.integers(0, 6),
)
def test_sliding_window_equals_masked_dense_form(
    length: int, window: int, dilations: tuple[int, int], global_tokens: int
) -> None:
    by_head = ",".join(map(str, dilations))
    mixer = SlidingWindowAttention(SHAPE, window=window, dilations=by_head, global_tokens=global_tokens)
    grown(mixer)

    def visible(head: int, i: int, j: int) -> bool:
        hops, rest = divmod(i - j, dilations[head])
        return j < global_tokens or (rest == 0 and 0 <= hops < window)

    assert_twins(mixer, inputs(length), lambda x: masked_dense(mixer, x, visible))


@pytest.mark.parametrize(
    ("length", "window", "global_tokens"), [(300, 150, 0), (385, 256, 3), (129, 128, 0), (600, 257, 0)]
)
def test_sliding_window_with_several_chunks_a_window(length: int, window: int, global_tokens: int) -> None:
    shape = LayerShape(width=4, heads=1, length=1024, layer=0, layers=1)
    mixer = SlidingWindowAttention(shape, window=window, global_tokens=global_tokens)
    grown(mixer)
    x = torch.randn(1, length, 4, dtype=torch.float64)
    assert_twins(mixer, x, lambda x: masked_dense(mixer, x, lambda h, i, j: i - j < window or j < global_tokens))


def test_sliding_window_by_layer_and_head_from_text() -> None:
    mixer = SlidingWindowAttention(SHAPE, windows="3,5", dilations="1,2")
    assert (mixer.window, mixer.dilations) == (5, (1, 2))


@pytest.mark.parametrize("value", ["1,2,3", "0,1", "a,b", "1,-1", ""])
def test_lists_of_wrong_length_or_value_are_named(value: str) -> None:
    with pytest.raises(InputError, match="dilations"):
        whole_numbers("dilations", value, 2)


def test_sliding_window_saves_bytes_linear_in_length() -> None:
    mixer = SlidingWindowAttention(LayerShape(16, 2, 2048, 0, 1), window=32)

    def saved(length: int) -> int:
        total: list[int] = []

        def pack(tensor: Tensor) -> Tensor:
            total.append(tensor.untyped_storage().nbytes())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            mixer(torch.randn(1, length, 16, requires_grad=True), None)
        return sum(total)

    assert saved(2048) / saved(1024) <= 2.02


@pytest.mark.parametrize("length", [1, 5])
def test_uniform_equals_loop(length: int) -> None:
    mixer = UniformAverage(SHAPE)
    grown(mixer)

    def slow(x: Tensor) -> Tensor:
        values = mixer.value(x)
        out: Tensor = mixer.out(torch.stack([values[:, : i + 1].mean(1) for i in range(length)], dim=1))
        return out

    assert_twins(mixer, inputs(length), slow)


@pytest.mark.parametrize("length", [1, 9])
def test_random_pointer_equals_loop(length: int) -> None:
    mixer = RandomPointer(SHAPE)
    grown(mixer)

    def slow(x: Tensor) -> Tensor:
        targets = mixer.targets(x, None)
        values, picked = split_heads(mixer.value(x), SHAPE.heads), []
        for h in range(SHAPE.heads):
            picked.append(torch.stack([values[:, h, int(targets[0, h, i])] for i in range(length)], dim=1))
        out: Tensor = mixer.out(torch.sigmoid(mixer.gate(x)) * torch.cat(picked, dim=-1))
        return out

    assert_twins(mixer, inputs(length), slow)


def test_random_targets_are_causal_frozen_and_independent_of_length() -> None:
    short, long = (RandomPointer(LayerShape(8, 2, length, 1, 2)) for length in (50, 400))
    x = torch.randn(3, 50, 8)
    targets = short(x, None)[1]
    assert targets.dtype == torch.int64
    assert targets.shape == (3, 2, 50)
    assert targets.min() >= 0
    assert (targets <= torch.arange(50)).all()
    assert torch.equal(targets, long.targets(x, None))
    other_layer = RandomPointer(LayerShape(8, 2, 50, 0, 2))
    assert not torch.equal(targets, other_layer.targets(x, None))
    assert not torch.equal(targets, RandomPointer(SHAPE, target_seed=1).targets(x, None))
    spread = long.targets_table[-200:].double() / torch.arange(200, 400)[:, None]
    assert 0.45 < spread.mean() < 0.55


def test_identity_adds_zero_without_writing_it() -> None:
    x = torch.randn(2, 3, 8)
    y, carry = Identity(SHAPE)(x, None)
    assert torch.equal(y, torch.zeros_like(x))
    assert y.untyped_storage().nbytes() == x.element_size()
    assert carry is None


def test_oracle_copy_repeats_the_token_of_distance_ago() -> None:
    tokens = torch.tensor([[3, 1, 2, 0, 1]])
    logits = OracleCopy(symbols=4, length=5, distance=2)(tokens)
    assert logits[0, :2].unique().numel() == 1
    assert logits.argmax(-1)[0, 2:].tolist() == [3, 1, 2]
    assert logits.softmax(-1).amax(-1)[0, 2:].min() > 1 - 1e-6
    assert not OracleCopy(symbols=4, length=5, distance=9)(tokens).any()


def test_chance_knows_nothing_and_repeats_itself() -> None:
    model = Chance(symbols=5, length=2000)
    tokens, others = torch.randint(5, (2, 4, 2000), generator=torch.Generator().manual_seed(0)).unbind()
    assert torch.equal(model(tokens), model(others))
    accuracy = (model(tokens).argmax(-1) == tokens).double().mean()
    assert abs(accuracy - 0.2) < 5 * (0.16 / 8000) ** 0.5


@pytest.mark.parametrize("control", [OracleCopy(symbols=3, length=4, distance=1), Chance(symbols=3, length=4)])
def test_untrained_controls_refuse_what_the_trunk_refuses(control: nn.Module) -> None:
    assert control.trainable is False
    with pytest.raises(InputError):
        control(torch.full((1, 2), 3))
    with pytest.raises(InputError):
        control(torch.zeros(1, 5, dtype=torch.int64))


@pytest.mark.parametrize("name", TRAINED)
def test_parameters_lie_within_parity_and_the_feed_forward_is_the_same_for_every_length(name: str) -> None:
    with torch.device("meta"):
        models = [registry.build(name, symbols=20, length=length) for length in (256, 2816)]
    widths = set()
    for model in models:
        assert isinstance(model, Trunk)
        assert abs(count_parameters(model, tables=False) / registry.TARGET_PARAMETERS - 1) <= registry.PARITY
        widths.add(model.blocks[0].ffn.up.out_features)
    assert len(widths) == 1


@pytest.mark.parametrize("length", [1, 2, 37])
@pytest.mark.parametrize("name", TRAINED)
def test_no_output_depends_on_later_tokens_or_on_the_batch(name: str, length: int) -> None:
    model = registry.build(name, symbols=11, length=64, layers=2, width=32, heads=2).double().eval()
    generator = torch.Generator().manual_seed(length)
    tokens = torch.randint(11, (2, length), generator=generator)
    logits = model(tokens)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(model(tokens[1:])[0], logits[1], rtol=0, atol=1e-9)
    for cut in {1, length // 2, length - 1} - {0, length}:
        changed = tokens.clone()
        changed[:, cut:] = (changed[:, cut:] + 1) % 11
        torch.testing.assert_close(model(changed)[:, :cut], logits[:, :cut], rtol=0, atol=1e-9)
        torch.testing.assert_close(model(tokens[:, :cut]), logits[:, :cut], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", TRAINED)
def test_half_precision_stays_near_single_precision(name: str) -> None:
    torch.manual_seed(0)
    model = registry.build(name, symbols=11, length=128, layers=2, width=32, heads=2)
    tokens = torch.randint(11, (2, 100), generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(tokens)
        logits.float().square().mean().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert (logits.float() - model(tokens)).norm() < 0.05 * logits.float().norm()
