"""`pointer-bench new NAME`: a working baseline to start from, as one file in `baselines/` and one line of the registry.

Both are written whole or not at all; nothing that exists is changed but the registry, which gets the line at its end.
"""

from __future__ import annotations

import json
import keyword
import os
import re
import tempfile
from pathlib import Path

import yaml

from pointer.errors import InputError
from workflow.bench import registry
from workflow.bench.lock import alone, lock_path
from workflow.bench.rows import write_atomically

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
ACCEPTED = "a new name of at most 40 lower-case letters, digits and underscores that starts with a letter"
WHERE = "`pointer-bench new NAME`"
CITATION = "yours: author, year, title, where to find it"
IMPORTED = ("Any", "LayerShape", "Mixer", "Tensor")  # class names that the file has already

TEMPLATE = '''\
"""Which question does {name} answer? A sentence here.

Author et al. YEAR, Title, arXiv ID, and where this file deviates. Cost: O(N d^2), a running sum. What of this decides
in which cells the model takes part, and how tables name it, stands in its line of baselines/registry.yaml.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from baselines.parts.heads import input_projection, output_projection
from pointer.trunk import LayerShape, Mixer


class {class_name}(Mixer):
    """y_i = W_o (sigmoid(W_g x_i) * sum over j <= i of W_v x_j / (i + 1)^power). Works; put your mixer in its place."""

    def __init__(self, shape: LayerShape, *, power: float = 1.0) -> None:
        """`shape`: width d, heads H, longest N, which layer of how many. Keywords are settings: `--set power=0.5`."""
        super().__init__()  # no size to choose: the trunk's feed-forward fills every model up to 3.2 M parameters
        self.power = power
        self.value = input_projection(shape.width, shape.width)
        self.gate = input_projection(shape.width, shape.width)
        self.out = output_projection(shape)

    def forward(self, x: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """x: float[B, N, d], normalised -> (y: float[B, N, d] for the residual stream, carry for the next layer).

        Any N from 1 works. Causal: y[:, i] knows x[:, : i + 1] only. carry is None below the first layer; pass it on.
        """
        seen = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=torch.float32)
        mean = self.value(x).cumsum(dim=1) / seen[:, None].pow(self.power).to(x.dtype)
        return self.out(torch.sigmoid(self.gate(x)) * mean), carry
'''


def make(name: str, *, cost: str = "linear", position: str = "none", citation: str = CITATION) -> list[str]:
    """Writes the baseline and its line; returns what to tell. Raises InputError for a name or value that is refused."""
    entry = {"path": f"baselines.{name}:{class_name(name)}", "cost": cost, "position": position, "citation": citation}
    with alone(lock_path().with_suffix(".registry")):
        check_name(name)
        registry.entry(name, entry, WHERE)
        file = registry.FILE.parent / f"{name}.py"
        listed = registry.FILE.read_text(encoding="utf-8")
        _create(file, TEMPLATE.format(name=name, class_name=class_name(name)))
        try:
            write_atomically(registry.FILE, f"{listed.rstrip()}\n{line(name, entry)}\n")
        except BaseException:
            file.unlink(missing_ok=True)
            raise
    return told(name, file)


def check_name(name: str) -> None:
    """Raises InputError for what cannot be a new baseline's name: no identifier, a word of Python or of the config, or
    taken."""
    folder, known = registry.FILE.parent, registry.names()
    if not NAME.fullmatch(name) or keyword.iskeyword(name) or keyword.iskeyword(class_name(name)):
        hint = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        near = f"{ACCEPTED}, such as {hint}" if NAME.fullmatch(hint) and hint != name else ACCEPTED
        raise InputError.about("NAME", name, f"{near}, and no keyword of Python", WHERE)
    if not isinstance(yaml.safe_load(name), str):
        raise InputError.about("NAME", name, "a name that YAML reads as text, unlike true, null, yes or on", WHERE)
    if name in registry.RESERVED:
        raise InputError.about(
            "NAME", name, f"a name other than {', '.join(registry.RESERVED)} (words of the config)", WHERE
        )
    files = {path.stem.lower(): path.name for path in folder.iterdir()}
    lines = {known_name.replace("-", "_"): known_name for known_name in known}
    if name in {*files, *lines}:
        there = [f"{folder.name}/{files[name]}"] if name in files else []
        there += [f"the line `{lines[name]}` of {folder.name}/{registry.FILE.name}"] if name in lines else []
        taken = f"a name that is not taken, as this one is by {' and '.join(there)}"
        raise InputError.about("NAME", name, taken, f"{WHERE}, or delete what is left of it")


def class_name(name: str) -> str:
    """my_mixer -> MyMixer."""
    camel = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return f"{camel}Layer" if camel in IMPORTED else camel


def line(name: str, entry: dict[str, str]) -> str:
    """The registry's line: `name: {path: ..., cost: ..., position: ..., citation: "..."}`."""
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in entry.items()} | {"path": entry["path"]}
    return f"{name}: {{{', '.join(f'{key}: {text}' for key, text in texts.items())}}}"


def told(name: str, file: Path) -> list[str]:
    """What was written, and what to type next."""
    return [
        f"wrote {file.parent.name}/{file.name}: a working example; put your mixer in its place",
        f"wrote {file.parent.name}/{registry.FILE.name}: its line, the last one; put in cost, position and citation",
        "next:",
        f"  pointer-bench check {name}",
        f"  pointer-bench run --experiment copy --model {name} --distance 512 --out row.json",
        "  snakemake --cores 4 all",
    ]


def _create(path: Path, text: str) -> None:
    """Writes a file that must not exist yet; it appears whole or not at all."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        whole = Path(folder) / path.name
        whole.write_text(text, encoding="utf-8")
        os.link(whole, path)
