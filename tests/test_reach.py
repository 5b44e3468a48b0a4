"""The bound of docs/method.md: with targets held fixed, an output reads few positions."""

import inspect

import pytest
import torch

import pointer
from workflow.bench import registry
from workflow.bench.cell import Trunk as Shape
from workflow.report import notes

LENGTH, LAYERS = 60, 3
SIZES = {"symbols": 9, "length": LENGTH, "layers": LAYERS, "width": 24, "heads": 2}


def built(name, heads):
    torch.manual_seed(heads)
    settings = {"pointer_heads": heads}
    if name == "pointer":
        settings |= {"k": 16, "window": 8}
    model = registry.build(name, **SIZES, mixer=settings)
    for parameter in model.parameters():  # so large that content decides the targets
        if parameter.dim() == 2 and parameter.shape[0] != parameter.shape[1]:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def freeze(model, targets):
    """Make every layer read the values at targets int64[L, B, H, N], whatever its scores."""
    for mixer, fixed in zip(model.mixers, targets, strict=True):

        def read(q, k, v, lower, fixed=fixed):
            return v.gather(2, fixed.unsqueeze(-1).expand_as(v)), fixed

        mixer.chain = None
        mixer.point = read
        mixer._can_fuse = lambda x, noise: False


def read_positions(model, tokens, position):
    embedded = model.embedding(tokens).detach().requires_grad_()
    x, carry = embedded, None
    if model.position_table is not None:
        x = x + model.position_table[: tokens.shape[1]]
    for block in model.blocks:
        x, carry = block(x, carry)
    x[0, position].square().sum().backward()
    return set(embedded.grad[0].abs().sum(-1).nonzero().flatten().tolist())


def reached(targets, position):
    """Return what residuals and pointers lead to from `position`, from the top layer down."""
    positions = {position}
    for layer in reversed(targets[:, 0]):
        positions |= {int(head[at]) for head in layer for at in positions}
    return positions


@pytest.mark.parametrize("name", ["pointer-formula", "pointer-dense", "pointer"])
@pytest.mark.parametrize("heads", [1, 2])
def test_an_output_reads_the_positions_of_its_chains_and_no_more_than_the_bound(name, heads):
    model, tokens = built(name, heads), torch.randint(9, (1, LENGTH))
    targets = pointer.trace(model, tokens).targets
    freeze(model, targets)
    sizes = []
    for position in range(LENGTH):
        read = read_positions(model, tokens, position)
        assert read == reached(targets, position)
        assert len(read) <= (1 + heads) ** LAYERS
        sizes.append(len(read))
    assert max(sizes) > 2, "the targets of this model say nothing about the bound"


@pytest.mark.parametrize(("name", "window"), [("longformer", 8), ("local", 16)])
def test_a_window_reaches_as_far_as_its_layers_add_up(name, window):
    model = registry.build(name, **SIZES, mixer={"window": window})
    read = read_positions(model.eval(), torch.randint(9, (1, LENGTH)), LENGTH - 1)
    assert LENGTH - 1 - min(read) == LAYERS * (window - 1)
    usual = inspect.signature(registry.load(name)).parameters["window"].default
    assert notes.REACH[name] == Shape().layers * (usual - 1)
