"""`pointer-bench new NAME`: a working baseline to start from, as one file and one entry at the end
of the registry."""

from __future__ import annotations

import keyword

import yaml

from pointer.errors import InputError
from workflow.bench import registry
from workflow.bench.rows import write_atomically
from workflow.bench.sources import ROOT

WHERE = "`pointer-bench new NAME`"
CITATION = "yours: author, year, title, where to find it"
TEMPLATE = ROOT / "baselines" / "_template.py"
IMPORTED = ("Any", "LayerShape", "Mixer", "Tensor")  # class names that the template imports


def make(name: str) -> list[str]:
    """Write the baseline and its entry; return lines to print. Raise InputError for what names no
    module, a word of Python or YAML, and a taken name."""
    class_name = name.title().replace("_", "")  # my_mixer: MyMixer
    taken = {path.stem.lower() for path in registry.FILE.parent.iterdir()}
    taken |= {known.replace("-", "_") for known in registry.names()}
    accepted = ""
    if not name.isidentifier() or keyword.iskeyword(name) or keyword.iskeyword(class_name):
        accepted = "a name such as my_mixer, and no keyword of Python"
    elif not isinstance(yaml.safe_load(name), str):
        accepted = "a name that YAML reads as text, unlike true, null, yes or on"
    elif name in taken or class_name in IMPORTED:
        accepted = "a name that is not taken by a file of baselines/ or an entry of the registry"
    if accepted:
        raise InputError.about("NAME", name, accepted, WHERE)
    fields = {"path": f"baselines.{name}:{class_name}", "cost": "linear"}
    fields |= {"position": "none", "citation": CITATION}
    registry.entry(name, fields, WHERE)  # refuses other letters
    text = TEMPLATE.read_text(encoding="utf-8")
    listed = registry.FILE.read_text(encoding="utf-8").rstrip()
    entry = yaml.safe_dump({name: fields}, sort_keys=False)
    file = registry.FILE.with_name(f"{name}.py")
    write_atomically(file, text.replace("NAME", name).replace("Template", class_name))
    write_atomically(registry.FILE, f"{listed}\n\n{entry}")
    return [
        f"wrote {file.parent.name}/{file.name}: a working example; put your mixer in its place",
        f"wrote {file.parent.name}/{registry.FILE.name}: its entry; fill it in",
        "next:",
        f"  pointer-bench check {name}",
        f"  pointer-bench run --experiment copy --model {name} --distance 512 --out row.json",
        "  snakemake --cores 4 all",
    ]
