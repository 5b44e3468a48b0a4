"""Every setting of a cell, stated once: its default, its meaning and what it accepts.

The options of `pointer-bench run`, the config schema and the validation are generated from the fields of `Settings`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import os
import unicodedata
from argparse import Namespace
from dataclasses import dataclass
from typing import Any, Literal

from pointer.errors import InputError
from workflow.bench import experiments, registry

Scalar = str | int | float | bool
Group = Literal["cell", "training", "timing", "limit"]
DEVICES = ("cpu", "cuda", "mps")
DTYPES = ("float32", "bfloat16")
COPY_TAIL = 768  # symbols that a copy sequence scores: N = D + 768 unless a length is given
PAIR_TOKENS = 16  # tokens of an MQAR sequence for each of its pairs
STEP_TOKENS = 4096  # tokens a step, unless a batch is given
DEFAULT_LENGTH = 2048  # the paper's longest
DEFAULT_SYMBOLS = 20
DEFAULT_EVALUATED = 10_000
NOT_COPY = tuple(name for name in experiments.TASKS if name != "copy")
LONGEST = 2**22
LONGEST_TEXT = 200
TEXT = f"at most {LONGEST_TEXT} characters, no control characters among them"
UNWRITABLE = ("Cc", "Cs", "Zl", "Zp")  # controls, halves of characters, breaks of lines and of paragraphs
TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float)}  # what a field of a kind holds; else text


def _setting(
    default: Any,
    help: str,
    group: Group = "cell",
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    tasks: tuple[str, ...] = (),
) -> Any:
    """A field with its meaning, the group and the tasks (none: all) to which it matters, and its accepted range."""
    metadata = {"help": help, "group": group, "low": low, "high": high, "choices": choices, "tasks": tasks}
    if default is dict:
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """One cell. Tokens count inputs (batch x N a step); 0 means "the experiment's own" where the help says so."""

    experiment: str = _setting(dataclasses.MISSING, "what is measured", choices=tuple(experiments.EXPERIMENTS))
    model: str = _setting(dataclasses.MISSING, "a name that `pointer-bench list` prints, or NAME=package.module:Class")
    device: str = _setting("cpu", "where it runs", choices=DEVICES)
    dtype: str = _setting("float32", "float32, or bfloat16 by autocast", choices=DTYPES)
    threads: int = _setting(0, "CPU threads, never more than the process may use; 0: all it may use", low=0, high=4096)
    length: int = _setting(
        0,
        f"sequence length N; 0: distance + {COPY_TAIL} for copy, {PAIR_TOKENS} tokens a pair for mqar, 2 a letter and "
        f"2 more for string-copy, another task's own, else {DEFAULT_LENGTH}",
        low=0,
        high=LONGEST,
    )
    task: str = _setting(
        "copy", "what interpretability trains on", "training", choices=tuple(experiments.TASKS), tasks=NOT_COPY
    )
    distance: int = _setting(512, "copy distance D in tokens", "training", low=1, high=LONGEST, tasks=("copy",))
    pairs: int = _setting(16, "mqar: pairs of key and value", "training", low=1, high=LONGEST, tasks=("mqar",))
    items: int = _setting(
        16, "selective-copy: data symbols among the noise", "training", low=1, high=LONGEST, tasks=("selective-copy",)
    )
    hops: int = _setting(1, "khop: induction steps in a row, k", "training", low=1, high=1000, tasks=("khop",))
    letters: int = _setting(
        50, "string-copy: letters of training's longest string", "training", low=1, high=LONGEST, tasks=("string-copy",)
    )
    data: str = _setting(
        "", "bytes: the text, a file; empty: the Python standard library's sources", "training", tasks=("bytes",)
    )
    batch: int = _setting(
        0, f"sequences a step; 0: {STEP_TOKENS} // N or fewer, as the task says, at least 1", low=0, high=65536
    )
    tokens: int = _setting(100_000, "training budget in tokens, never exceeded", "training", low=1, high=10**12)
    lr: float = _setting(1e-3, "learning rate of AdamW", "training", low=0.0, high=10.0)
    symbols: int = _setting(
        0,
        f"vocabulary size V, at least 2; 0: the task's own, else {DEFAULT_SYMBOLS}; listops and bytes have a fixed one",
        low=0,
        high=2**20,
    )
    seed: int = _setting(0, "seed of data, initialisation and order", low=0, high=2**31 - 1)
    repeat: int = _setting(0, "which repetition of the same measurement", low=0, high=10**6)
    warmup_steps: int = _setting(2, "steps before the clock starts", "timing", low=1, high=10**6)
    timed_steps: int = _setting(5, "timed steps", "timing", low=1, high=10**6)
    stop_accuracy: float = _setting(
        0.0, "training stops at this hard-inference accuracy; 0: never", "training", low=0.0, high=1.0
    )
    evaluate_symbols: int = _setting(
        0, "fresh symbols scored at the end, at least; 0: the task's own number", "training", low=0, high=10**9
    )
    timeout_s: int = _setting(
        1800,
        "longest run time in seconds, without waiting and the contract check before it; 0: no limit",
        "limit",
        low=0,
        high=10**8,
    )
    memory_limit_bytes: int = _setting(
        0, "most bytes it may allocate; 0: the machine's RAM (on cpu)", "limit", low=0, high=2**60
    )
    machine: str = _setting("", "the machine's label in every row; empty: its CPU or GPU name and core count")
    mixer: dict[str, Scalar] = _setting(dict, "settings of the mixer's constructor")

    @property
    def timing(self) -> bool:
        """Whether the row must run alone on the machine."""
        return experiments.info(self.experiment).timing

    @property
    def task_name(self) -> str:
        """What the model learns; empty where it learns nothing."""
        experiment = experiments.info(self.experiment)
        return self.task if experiment.any_task else experiment.task

    @property
    def axis(self) -> experiments.Axis:
        """The setting along which this cell's like lie."""
        return experiments.TASKS[self.task_name].axis if self.task_name else "length"

    def matters(self, name: str) -> bool:
        """Whether a setting matters to this cell's task."""
        tasks = FIELDS[name].metadata["tasks"]
        return not tasks or self.task_name in tasks

    def validate(self) -> Settings:
        """Returns itself; raises InputError that names the first bad value, what is accepted and where to change it."""
        experiment = experiments.info(self.experiment)
        registry.info(self.model)
        for name in FIELDS:
            check(name, getattr(self, name))
        if self.symbols == 1:
            raise InputError.about("symbols", 1, f"0, or a whole number from 2 to {2**20:,}", where("symbols"))
        if self.task not in ("copy", self.task_name):
            raise InputError.about("task", self.task, f"{self.task_name or 'none'} in {self.experiment}", where("task"))
        if self.axis == "distance" and 0 < self.length <= self.distance:
            raise InputError.about("length", self.length, f"more than the distance, {self.distance}", where("length"))
        if self.task_name:
            experiments.TASKS[self.task_name].load().of(self.resolved())  # refuses sizes that do not fit each other
        step = self.resolved().batch * self.resolved().length
        if experiment.trains and self.tokens < step:
            raise InputError.about("tokens", self.tokens, f"at least {step:,}, one step of batch x N", where("tokens"))
        return self

    def resolved(self) -> Settings:
        """The same cell with every size filled in where it is 0."""
        return self._resolved

    @functools.cached_property
    def _resolved(self) -> Settings:
        length = self.length or self._own_length()
        task = experiments.TASKS.get(self.task_name)
        symbols = task.symbols if task and (task.fixed or not self.symbols) else self.symbols or DEFAULT_SYMBOLS
        evaluated = self.evaluate_symbols or (task.evaluate_symbols if task else DEFAULT_EVALUATED)
        batch = self.batch or max(1, (task.step_tokens if task else STEP_TOKENS) // length)
        sizes: dict[str, Any] = {"length": length, "symbols": symbols, "evaluate_symbols": evaluated, "batch": batch}
        return dataclasses.replace(self, threads=threads(self.threads), **sizes)

    def _own_length(self) -> int:
        task = self.task_name
        follows = {
            "copy": self.distance + COPY_TAIL,
            "mqar": PAIR_TOKENS * self.pairs,
            "string-copy": 2 * self.letters + 2,
        }
        return follows.get(task) or (experiments.TASKS[task].length if task else DEFAULT_LENGTH)

    def to_dict(self) -> dict[str, Any]:
        """Every field, for JSON."""
        return dataclasses.asdict(self)

    def to_argv(self) -> list[str]:
        """The options of `pointer-bench run` that make this cell: what differs from the defaults."""
        argv: list[str] = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "mixer":
                argv += [part for key in sorted(value) for part in ("--set", f"{key}={json.dumps(value[key])}")]
            elif value != field.default:
                text = str(value)  # one that starts with a dash would be read as an option
                argv += [f"{option(field.name)}={text}"] if text.startswith("-") else [option(field.name), text]
        return argv

    def key(self) -> str:
        """16 hexadecimal digits over the settings that matter to this experiment's row, sizes filled in; a time limit
        does not matter."""
        experiment = experiments.info(self.experiment)
        groups = (
            {"cell"} | ({"training"} if experiment.trains else set()) | ({"timing"} if experiment.timing else set())
        )
        own = self.resolved()
        fields = (f for f in FIELDS.values() if f.metadata["group"] in groups and self.matters(f.name))
        used = {f.name: getattr(own, f.name) for f in fields}
        used |= {"threads": self.threads, "memory_limit_bytes": self.memory_limit_bytes}
        return hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:16]


FIELDS = {field.name: field for field in dataclasses.fields(Settings)}


def from_dict(values: dict[str, Any]) -> Settings:
    """The cell that `to_dict` wrote; raises InputError for an unknown key or a bad value."""
    for key in values:
        if key not in FIELDS:
            raise InputError.unknown("setting", key, FIELDS, "the settings file")
    for required in ("experiment", "model"):
        if required not in values:
            raise InputError.about(required, None, "a name that `pointer-bench list` prints", where(required))
    return Settings(**{key: _exact(key, value) for key, value in values.items()}).validate()


def from_namespace(namespace: Namespace) -> Settings:
    """The cell that command-line options name; options are texts, absent ones are None.

    Raises InputError for an option of another task, too: the row would not measure what it asks for.
    """
    given = {name: getattr(namespace, name, None) for name in FIELDS if name != "mixer"}
    values: dict[str, Any] = {name: parse(name, text) for name, text in given.items() if text is not None}
    values["mixer"] = dict(parse_override(text) for text in getattr(namespace, "mixer", None) or ())
    cell = from_dict(values)
    for name, text in given.items():
        if text is not None and name != "task" and not cell.matters(name):  # of tasks, `validate` says
            does = f"{option(name)} {text} does nothing in {cell.experiment}"
            takes = ", ".join(FIELDS[name].metadata["tasks"])
            raise InputError(f"{does}; accepted: with {takes}. Take it away, or change `--experiment`.")
    return cell


def option(name: str) -> str:
    """The command-line option of a field."""
    return "--set" if name == "mixer" else "--" + name.replace("_", "-")


def where(name: str) -> str:
    """Where a user changes a setting."""
    return f"`{option(name)}`, or the config"


def kind(name: str) -> str:
    """A field's type as its annotation says: "int", "float", "str" or "dict[...]"."""
    return str(FIELDS[name].type)


def accepted(name: str) -> str:
    """What a field takes, in words."""
    metadata = FIELDS[name].metadata
    if metadata["choices"]:
        return ", ".join(metadata["choices"])
    if metadata["low"] is None:
        return f"text of {TEXT}" if kind(name) == "str" else "key=value pairs"
    noun = "a whole number" if kind(name) == "int" else "a number"
    return f"{noun} from {metadata['low']:,} to {metadata['high']:,}"


def parse(name: str, text: str) -> Any:
    """The value of an option's text; raises InputError if it is not of the field's type."""
    try:
        return {"int": int, "float": float}.get(kind(name), str)(text)
    except ValueError:
        raise InputError.about(name, text, accepted(name), where(name)) from None


def parse_override(text: str) -> tuple[str, Scalar]:
    """`key=value` of `--set`; the value is JSON where it reads as a JSON scalar, else text."""
    key, equals, value = text.partition("=")
    if not key.isidentifier() or not equals:
        raise InputError.about("--set", text, "key=value, such as k=64", "`--set`")
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):  # no JSON, or a number or a nesting without end
        return key, value
    return key, parsed if isinstance(parsed, Scalar) else value


def check(name: str, value: Any, place: str = "") -> None:
    """Raises InputError unless `value` is of the field's type and in its range; NaN, infinities and booleans are no
    numbers."""
    metadata = FIELDS[name].metadata
    if name == "mixer":
        _check_overrides(value, place or where(name))
        return
    if isinstance(value, bool) or not isinstance(value, TYPES.get(kind(name), (str,))):
        raise InputError.about(name, value, accepted(name), place or where(name))
    if isinstance(value, str) and not _writable(value):
        raise InputError.about(name, value, accepted(name) if not metadata["choices"] else TEXT, place or where(name))
    if metadata["choices"] and value not in metadata["choices"]:
        raise InputError.unknown(name, value, metadata["choices"], place or where(name))
    if metadata["low"] is not None and not metadata["low"] <= value <= metadata["high"]:
        raise InputError.about(name, value, accepted(name), place or where(name))


def _check_overrides(value: Any, place: str) -> None:
    if not isinstance(value, dict):
        raise InputError.about("mixer", value, accepted("mixer"), place)
    for key, entry in value.items():
        if not isinstance(key, str) or not key.isidentifier() or not _writable(key):
            raise InputError.about("mixer setting", key, "a name such as k", place)
        if not _plain(entry):
            raise InputError.about(f"mixer setting {key}", entry, f"a finite number, true, false, or {TEXT}", place)


def _plain(entry: Any) -> bool:
    """Whether a mixer setting survives the way to the mixer: the command line, JSON, the row."""
    if isinstance(entry, float):
        return math.isfinite(entry)
    return _writable(entry) if isinstance(entry, str) else isinstance(entry, int) and abs(entry) < 2**63


def _writable(text: str) -> bool:
    """Whether a text fits a command line, a row and a table: no line breaks, NUL or halves of characters."""
    if len(text) > LONGEST_TEXT:
        return False
    return text.isprintable() or not any(unicodedata.category(sign) in UNWRITABLE for sign in text)


def _exact(name: str, value: Any) -> Any:
    """1 and 1.0 are the same learning rate, and must hash alike."""
    return float(value) if kind(name) == "float" and isinstance(value, int) and not isinstance(value, bool) else value


def affinity() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(wanted: int) -> int:
    """The thread count to use: at most the affinity, all of it for 0."""
    return min(wanted, affinity()) if wanted else affinity()
