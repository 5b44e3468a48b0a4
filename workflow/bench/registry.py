"""Every model of the suite, one declarative entry each: where its mixer is, what it costs, what it knows of position.

A new baseline is one file in `baselines/` and one entry here; it then takes part in every table, figure and contract
test. Importing this module loads no torch: `build` does.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pointer.errors import InputError
from workflow.bench.sources import reachable

if TYPE_CHECKING:
    from torch import nn

    from pointer.trunk import MixerFactory

Cost = Literal["linear", "n log n", "quadratic", "quadratic-unfused"]
Group = Literal["paper", "field", "own"]  # the paper's comparison; what reviewers would name; yours
GROUPS: tuple[Group, ...] = ("paper", "field", "own")
COSTS: tuple[Cost, ...] = ("linear", "n log n", "quadratic", "quadratic-unfused")
TARGET_PARAMETERS = 3_200_000  # paper section 3.1
PARITY = 0.10  # every model's count lies within this fraction of the target, position tables left out
FFN_MULTIPLE = 8
WHERE = "`--model`, or `models` in the config"


@dataclass(frozen=True)
class Entry:
    """One model. `path` is "module:Class"; controls are exempt from parity, and the untrained ones from training."""

    name: str
    path: str
    cost: Cost
    position: str
    citation: str
    kind: Literal["model", "control"] = "model"
    learned_positions: bool = False
    trained: bool = True
    group: Group = "own"


_POINTER = "Li 2025, Pointer, arXiv 2508.02631"
_VASWANI = "Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762"
_ENTRIES = (
    Entry("pointer", "pointer.mixer:PointerMixer", "linear", "learned offset table", _POINTER, group="paper"),
    Entry(
        "pointer-dense",
        "pointer.dense:DensePointerMixer",
        "quadratic-unfused",
        "learned offset table",
        _POINTER,
        group="paper",
    ),
    Entry(
        "transformer",
        "baselines.transformer:Attention",
        "quadratic",
        "learned absolute",
        _VASWANI,
        learned_positions=True,
        group="paper",
    ),
    Entry(
        "transformer-unfused",
        "baselines.transformer_unfused:UnfusedAttention",
        "quadratic-unfused",
        "learned absolute",
        _VASWANI,
        learned_positions=True,
        group="paper",
    ),
    Entry(
        "longformer",
        "baselines.longformer:SlidingWindowAttention",
        "linear",
        "learned absolute",
        "Beltagy et al. 2020, Longformer, arXiv 2004.05150",
        learned_positions=True,
        group="paper",
    ),
    Entry(
        "transformer-rotary",
        "baselines.transformer_rotary:RotaryAttention",
        "quadratic",
        "rotary",
        "Su et al. 2021, RoFormer, arXiv 2104.09864",
        group="field",
    ),
    Entry(
        "transformer-relative",
        "baselines.transformer_relative:RelativeAttention",
        "quadratic",
        "learned offset table",
        "Raffel et al. 2020, T5, arXiv 1910.10683",
        group="field",
    ),
    Entry(
        "local",
        "baselines.local:LocalAttention",
        "linear",
        "learned absolute",
        "Parmar et al. 2018, Image Transformer, arXiv 1802.05751",
        learned_positions=True,
        group="field",
    ),
    Entry(
        "logsparse",
        "baselines.logsparse:LogSparseAttention",
        "n log n",
        "learned absolute",
        "Li et al. 2019, LogSparse Transformer, arXiv 1907.00235",
        learned_positions=True,
        group="field",
    ),
    Entry(
        "moba",
        "baselines.moba:BlockAttention",
        "quadratic",
        "rotary",
        "Lu et al. 2025, MoBA, arXiv 2502.13189",
        group="field",
    ),
    Entry(
        "reformer",
        "baselines.reformer:HashAttention",
        "n log n",
        "learned absolute",
        "Kitaev et al. 2020, Reformer, arXiv 2001.04451",
        learned_positions=True,
        group="field",
    ),
    Entry(
        "linear-attention",
        "baselines.linear_attention:LinearAttention",
        "linear",
        "learned absolute",
        "Katharopoulos et al. 2020, Transformers are RNNs, arXiv 2006.16236",
        learned_positions=True,
        group="field",
    ),
    Entry(
        "performer",
        "baselines.performer:Performer",
        "linear",
        "learned absolute",
        "Choromanski et al. 2020, Performer, arXiv 2009.14794",
        learned_positions=True,
        group="field",
    ),
    Entry(
        "retnet",
        "baselines.retnet:Retention",
        "linear",
        "rotary and fixed decay",
        "Sun et al. 2023, RetNet, arXiv 2307.08621",
        group="field",
    ),
    Entry(
        "gla",
        "baselines.gla:GatedLinearAttention",
        "linear",
        "learned decay",
        "Yang et al. 2023, Gated Linear Attention, arXiv 2312.06635",
        group="field",
    ),
    Entry(
        "deltanet",
        "baselines.deltanet:DeltaNet",
        "linear",
        "short convolution",
        "Yang et al. 2024, DeltaNet, arXiv 2406.06484",
        group="field",
    ),
    Entry(
        "hyena",
        "baselines.hyena:Hyena",
        "n log n",
        "implicit filter",
        "Poli et al. 2023, Hyena, arXiv 2302.10866",
        group="field",
    ),
    Entry("s4d", "baselines.s4d:S4D", "n log n", "state space", "Gu et al. 2022, S4D, arXiv 2206.11893", group="field"),
    Entry(
        "identity",
        "baselines.identity:Identity",
        "linear",
        "none",
        "control: the trunk's speed limit",
        kind="control",
        group="paper",
    ),
    Entry(
        "uniform",
        "baselines.uniform:UniformAverage",
        "linear",
        "none",
        "control: what the public repository lizixi-0x2F/Pointer 7ccc83e computes, made causal",
        kind="control",
        group="paper",
    ),
    Entry(
        "random-pointer",
        "baselines.random_pointer:RandomPointer",
        "linear",
        "frozen random offsets",
        "control: frozen random targets",
        kind="control",
        group="paper",
    ),
    Entry(
        "oracle-copy",
        "baselines.oracle_copy:OracleCopy",
        "linear",
        "given the distance",
        "control: must score 100%",
        kind="control",
        trained=False,
        group="paper",
    ),
    Entry(
        "chance",
        "baselines.chance:Chance",
        "linear",
        "none",
        "control: must sit on the chance line",
        kind="control",
        trained=False,
        group="paper",
    ),
)
_BY_NAME = {entry.name: entry for entry in _ENTRIES}


def names() -> list[str]:
    """All models and controls, in the order of tables and legends."""
    return list(_BY_NAME)


def info(name: str) -> Entry:
    """The entry of a model; raises InputError with the nearest name for an unknown one."""
    if name not in _BY_NAME:
        raise InputError.unknown("model", name, _BY_NAME, WHERE)
    return _BY_NAME[name]


def load(name: str) -> type[nn.Module]:
    """The class that an entry's path names."""
    module, _, attribute = info(name).path.partition(":")
    found: type[nn.Module] = getattr(importlib.import_module(module), attribute)
    return found


def build(
    name: str, *, symbols: int, length: int, layers: int = 6, width: int = 256, heads: int = 8, **settings: Any
) -> nn.Module:
    """A model on the shared trunk: tokens int64[B, N <= length] -> logits float[B, N, symbols].

    The feed-forward width is what brings the count nearest to TARGET_PARAMETERS at 6 layers of 256, so it is the same
    for every N. `settings` go to the mixer's constructor; an unknown one raises InputError.
    """
    entry, mixer = info(name), load(name)
    _check_settings(name, mixer, settings)
    if not entry.trained:
        return mixer(symbols=symbols, length=length, **settings)
    from pointer.trunk import Trunk, count_parameters

    factory = _factory(mixer, settings)

    def trunk(ffn_width: int) -> Trunk:
        return Trunk(
            factory,
            symbols=symbols,
            length=length,
            ffn_width=ffn_width,
            learned_positions=entry.learned_positions,
            layers=layers,
            width=width,
            heads=heads,
        )

    import torch

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        narrow = count_parameters(trunk(FFN_MULTIPLE), tables=False)
    target = TARGET_PARAMETERS * layers * width**2 / (6 * 256**2)
    per_unit = 2 * width * layers * FFN_MULTIPLE
    return trunk(FFN_MULTIPLE * max(1, 1 + round((target - narrow) / per_unit)))


def _factory(mixer: Any, settings: dict[str, Any]) -> MixerFactory:
    """A mixer takes its settings as keywords, or as the dataclass that it names as `Settings`."""
    if hasattr(mixer, "Settings"):
        made = mixer.Settings(**settings)
        return lambda shape: mixer(shape, made)
    return lambda shape: mixer(shape, **settings)


def _check_settings(name: str, mixer: Any, settings: dict[str, Any]) -> None:
    parameters = inspect.signature(getattr(mixer, "Settings", mixer.__init__)).parameters.values()
    keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD if hasattr(mixer, "Settings") else inspect.Parameter.KEYWORD_ONLY
    known = [p.name for p in parameters if p.kind is keyword and p.name not in ("symbols", "length")]
    for key in settings:
        if key not in known:
            raise InputError.unknown(f"setting of {name}", key, known, "`--set`, or `mixer` in the config")


def sources(name: str) -> list[Path]:
    """The files that make this model's numbers: its module, the trunk, and what they import from `pointer` and
    `baselines`.
    """
    module = info(name).path.partition(":")[0]
    return reachable([module, "pointer.trunk"], ("pointer", "baselines"))
