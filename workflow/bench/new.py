"""`pointer-bench new NAME`: a working baseline to start from, as one file and one entry at the end
of the registry."""

from __future__ import annotations

import keyword
import re

import yaml

from pointer.errors import InputError
from workflow.bench import registry
from workflow.bench.rows import lock, write_atomically
from workflow.bench.sources import ROOT

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
ACCEPTED = "a new name of at most 40 lower-case letters, digits and _ that starts with a letter"
WHERE = "`pointer-bench new NAME`"
CITATION = "yours: author, year, title, where to find it"
TEMPLATE = ROOT / "baselines" / "_template.py"
IMPORTED = ("Any", "LayerShape", "Mixer", "Tensor")  # class names that the template imports


def make(
    name: str, *, cost: str = "linear", position: str = "none", citation: str = CITATION
) -> list[str]:
    """Write the baseline and its entry; return lines to print. Raise InputError."""
    path = f"baselines.{name}:{class_name(name)}"
    fields = {"path": path, "cost": cost, "position": position, "citation": citation}
    with lock.taken(lock.lock_path().with_suffix(".registry"), mode=0o666):
        check_name(name)
        registry.entry(name, fields, WHERE)
        file = registry.FILE.parent / f"{name}.py"
        text = TEMPLATE.read_text(encoding="utf-8")
        write_atomically(file, text.replace("NAME", name).replace("Template", class_name(name)))
        listed = registry.FILE.read_text(encoding="utf-8").rstrip()
        entry = yaml.safe_dump({name: fields}, sort_keys=False, allow_unicode=True, width=1000)
        try:
            write_atomically(registry.FILE, f"{listed}\n\n{entry}")
        except BaseException:
            file.unlink(missing_ok=True)
            raise
    return [
        f"wrote {file.parent.name}/{file.name}: a working example; put your mixer in its place",
        f"wrote {file.parent.name}/{registry.FILE.name}: its entry; fill it in",
        "next:",
        f"  pointer-bench check {name}",
        f"  pointer-bench run --experiment copy --model {name} --distance 512 --out row.json",
        "  snakemake --cores 4 all",
    ]


def check_name(name: str) -> None:
    """Raise InputError for no identifier, a word of Python or YAML, and a name that is taken."""
    taken = {path.stem.lower() for path in registry.FILE.parent.iterdir()}
    taken |= {known.replace("-", "_") for known in registry.names()}
    if not NAME.fullmatch(name) or keyword.iskeyword(name) or keyword.iskeyword(class_name(name)):
        hint = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        accepted = f"{ACCEPTED}, such as {hint}" if NAME.fullmatch(hint) else ACCEPTED
        accepted += ", and no keyword of Python"
    elif not isinstance(yaml.safe_load(name), str):
        accepted = "a name that YAML reads as text, unlike true, null, yes or on"
    elif name in taken:
        accepted = "a name that is not taken by a file of baselines/ or an entry of the registry"
    else:
        return
    raise InputError.about("NAME", name, accepted, WHERE)


def class_name(name: str) -> str:
    """Return my_mixer as MyMixer."""
    camel = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return f"{camel}Layer" if camel in IMPORTED else camel
