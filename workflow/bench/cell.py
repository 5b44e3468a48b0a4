"""A cell: every setting of one row, stated once with its default, its meaning and what it accepts.

The options of `pointer-bench run` and the keys of a tier come from the fields of `Cell`, of its
`Trunk` and of the tasks' parameters, and are flat (`--distance 64`): see `Cell.of`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from pointer.errors import InputError
from workflow.bench import experiments, rates, registry, tasks
from workflow.bench.tasks.base import Seeds, Task
from workflow.bench.tasks.text import corpus
from workflow.bench.validation import Closed, Flag, Number, Settings, Text, Whole, input_error

Device = Literal["cpu", "cuda", "mps"]
Dtype = Literal["float32", "bfloat16"]
# Groups of settings that only some experiments' keys hold; those of a limit are in none.
TRAINING = ("task", "tokens", "lr", "stop_accuracy", "evaluate_symbols", "schedule")
TIMING = ("session", "twin", "session_seconds")
LIMITS = ("timeout_s", "memory_limit_bytes")
AnyTask: Any = Annotated[Union[tuple(experiments.TASKS.values())], Field(discriminator="name")]  # noqa: UP007
RUNS = "results/runs"
PAPER = "paper"  # the session of the paper's models
SESSION = "^[a-z][a-z0-9_-]{0,39}$"
LONGEST = 2**22
DEFAULT_LENGTH = 2048  # the paper's longest
LONGEST_LABEL = 80  # characters of a variant in a path
CGROUP, CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# Files of the microseconds that a group may use of a period: one in version 2, two in version 1.
QUOTAS = ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")


def _setting(default: Any, description: str, **bounds: Any) -> Any:
    """Return a field with its meaning and its accepted range."""
    return Field(default, description=description, **bounds)


def _refused(name: str, value: Any, accepted: str) -> InputError:
    return InputError.about(name, value, accepted, where(name))


class Trunk(Closed):
    """The trunk that all models share (paper section 3.1)."""

    layers: Whole = _setting(6, "layers of the trunk", ge=1, le=128)
    width: Whole = _setting(256, "channels of the trunk, a multiple of its heads", ge=8, le=8192)
    heads: Whole = _setting(8, "attention heads", ge=1, le=256)

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Trunk:
        if self.width % self.heads:
            raise _refused("width", self.width, f"a multiple of heads, {self.heads}")
        return self

    def __str__(self) -> str:
        """Return layers x width x heads."""
        return f"{self.layers}x{self.width}x{self.heads}"


def _known_model(name: str) -> str:
    registry.info(name)
    if registry.without_ending(name)[1] != "source":
        accepted = "a name alone; `--short-convolution` gives it one or takes it away"
        raise InputError.about("model", name, accepted, registry.WHERE)
    return name


def _word(value: Any) -> Any:
    """Return `on` or `off`, which YAML reads as true and false."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


ExperimentName = Annotated[str, AfterValidator(lambda name: experiments.info(name).name)]
ModelName = Annotated[str, AfterValidator(_known_model)]
Convolution = Annotated[Literal["source", "on", "off"], BeforeValidator(_word)]


class Cell(Closed):
    """One row's settings. Tokens count inputs (batch x N a step)."""

    experiment: ExperimentName = Field(description="what is measured")
    model: ModelName = Field(description="of `pointer-bench list`, or NAME=package.module:Class")
    device: Device = _setting("cpu", "where it runs")
    dtype: Dtype = _setting("float32", "float32, or bfloat16 by autocast")
    threads: Whole = _setting(0, "CPU threads, at most; 0: all that it may use", ge=0, le=4096)
    length: Whole = _setting(0, "sequence length N; 0: the task's own, else 2048", ge=0, le=LONGEST)
    task: AnyTask | None = _setting(None, "what the model learns, with its parameters")
    batch: Whole = _setting(0, "sequences a step; 0: the task's tokens // N", ge=0, le=65536)
    tokens: Whole = _setting(100_000, "training budget in tokens; 0: untrained", ge=0, le=10**12)
    lr: Number = _setting(rates.DEFAULT, "AdamW's learning rate; else as searched", ge=0.0, le=10.0)
    symbols: Whole = _setting(0, "vocabulary V, 2 or more; 0: the task's own", ge=0, le=2**20)
    seed: Whole = _setting(0, "seed of data, initialisation and order", ge=0, le=2**31 - 1)
    repeat: Whole = _setting(0, "which repetition of the same measurement", ge=0, le=10**6)
    session: Text = _setting(PAPER, "timing session: paper, or a model's own", pattern=SESSION)
    twin: Flag = _setting(False, "a second instance of the first model of its session")
    session_seconds: Number = _setting(30.0, "seconds of a timing session", ge=0.0, le=86400.0)
    stop_accuracy: Number = _setting(0.0, "accuracy that ends training; 0: none", ge=0.0, le=1.0)
    evaluate_symbols: Whole = _setting(0, "fresh symbols scored; 0: the task's", ge=0, le=10**9)
    trunk: Trunk = _setting(Trunk(), "the trunk's sizes")
    init: Literal["fan-in"] = _setting("fan-in", "of the mixers' inputs: std 1/sqrt(fan-in)")
    schedule: Literal["cosine", "constant"] = _setting("cosine", "of the rate; down to a tenth")
    short_convolution: Convolution = _setting("source", "4 taps: on, off, or as its source has it")
    timeout_s: Whole = _setting(1800, "seconds that it may run; 0: no limit", ge=0, le=10**8)
    memory_limit_bytes: Whole = _setting(0, "bytes at most; 0: the RAM (on cpu)", ge=0, le=2**60)
    machine: Text = _setting("", "the machine's label in rows; empty: its name and cores")
    mixer: Settings = _setting({}, "settings of the mixer's constructor")

    @classmethod
    def of(cls, experiment: Any, model: Any, **settings: Any) -> Cell:
        """Return the cell of flat settings, with the experiment's own task and the learning rate
        that the search chose unless they are given. Raise InputError for what is refused."""
        entry = experiments.info(experiment)
        name = settings.pop("task", None) or entry.task
        own = tasks.info(name).model_fields if name else {}
        task = {key: settings.pop(key) for key in own if key in settings}
        trunk = {key: settings.pop(key) for key in Trunk.model_fields if key in settings}
        for key in settings.keys() & tasks.parameters().keys():
            takes = ", ".join(t for t in tasks.TASKS if key in tasks.info(t).model_fields)
            idle = f"{option(key)} {settings[key]} does nothing in {experiment}"
            raise InputError(f"{idle}; accepted: with {takes}. Change it in `--experiment`.")
        if task.get("data"):
            task["data"] = os.path.abspath(task["data"])  # from where the user stands
        values = {"experiment": experiment, "model": model, **settings}
        values |= {"task": {"name": name, **task}} if name else {}
        values |= {"trunk": trunk} if trunk else {}
        cell = from_dict(values)
        if not entry.trains or "lr" in settings:
            return cell
        ending = registry.CONVOLUTIONS[cell.short_convolution]
        rate = rates.chosen(name, str(cell.trunk), registry.info(cell.model).name, ending)
        return cell.model_copy(update={"lr": rate})

    @model_validator(mode="after")
    def _fits(self) -> Cell:
        """Refuse sizes that do not fit each other, before any job starts."""
        entry = experiments.info(self.experiment)
        if self.task_name != entry.task and not (entry.any_task and self.task_name):
            raise _refused("task", self.task_name, f"{entry.task or 'none'} in {self.experiment}")
        full = self.resolved()
        if self.symbols == 1:
            raise _refused("symbols", 1, f"0, or a whole number from 2 to {2**20:,}")
        if self.short_convolution != "source" and not registry.info(self.model).trained:
            accepted = f"source: {self.model} has no mixer"
            raise _refused("short_convolution", self.short_convolution, accepted)
        if full.task is not None:
            full.learned()
        step = full.batch * full.length
        if entry.trains and 0 < self.tokens < step:
            raise _refused("tokens", self.tokens, f"0, or at least {step:,}, one step of batch x N")
        return self

    @property
    def timing(self) -> bool:
        """Whether the row must run alone on the machine."""
        return experiments.info(self.experiment).timing

    @property
    def task_name(self) -> str:
        """What the model learns; empty where it learns nothing."""
        return self.task.name if self.task is not None else ""

    @property
    def axis(self) -> str:
        """The setting along which this cell's like lie."""
        return (self.task or Task).axis

    @property
    def x(self) -> int:
        """The value along the axis, filled in where it is 0."""
        if self.axis == "length":
            return self.resolved().length
        return int(getattr(self.task, self.axis))

    @property
    def built(self) -> str:
        """The model's name for `registry.build`, with what `short_convolution` puts behind it."""
        name, _ = registry.without_ending(self.model)
        return name + registry.CONVOLUTIONS[self.short_convolution]

    def resolved(self) -> Cell:
        """Return the same cell, sizes filled in where they are 0, and the model as it is built."""
        own = self.task or Task
        length = self.length or (self.task.default_length() if self.task else DEFAULT_LENGTH)
        sizes = {
            "length": length,
            "symbols": own.own_symbols if own.fixed_symbols or not self.symbols else self.symbols,
            "batch": self.batch or max(1, own.step_tokens // length),
            "evaluate_symbols": self.evaluate_symbols or own.evaluate_symbols,
            "threads": threads(self.threads),
            "model": self.built,
        }
        return self.model_copy(update=sizes)

    def learned(self) -> Task:
        """Return what the model learns at this cell's sizes, which must be filled in."""
        assert self.task is not None
        task: Task = self.task.at(self.batch, self.length, self.symbols, Seeds.of(self.seed))
        return task

    def to_dict(self) -> dict[str, Any]:
        """Return every field, for JSON."""
        return self.model_dump(mode="json")

    def argv(self) -> list[str]:
        """Return the options of `pointer-bench run` that make this cell, defaults left out."""
        entry = experiments.info(self.experiment)
        flat = self.model_dump(exclude={"task", "trunk", "mixer", "twin"})
        flat |= self.trunk.model_dump()
        if self.task is not None:
            flat |= self.task.model_dump(exclude={"name"})
        if entry.any_task:
            flat["task"] = self.task_name
        argv: list[str] = []
        for key, value in flat.items():
            own = entry.task if key == "task" else OPTIONS[key].default
            if value != own or (key == "lr" and entry.trains):
                text = str(value)  # one that starts with a dash would be read as an option
                argv += [f"{option(key)}={text}"] if text.startswith("-") else [option(key), text]
        for key in sorted(self.mixer):
            argv += ["--set", f"{key}={json.dumps(self.mixer[key])}"]
        return argv

    def key(self, data_hash: str | None = None) -> str:
        """Return 16 hexadecimal digits over the settings that matter to this experiment's row. A
        text counts by its content, or the `data_hash` of a row; raise InputError if unreadable."""
        entry = experiments.info(self.experiment)
        ignored = {*LIMITS}
        if not entry.trains:
            ignored.update(TRAINING)
        if not entry.timing:
            ignored.update(TIMING)
        used = self.resolved().model_dump(mode="json", exclude=ignored)
        used |= {"threads": self.threads, "memory_limit_bytes": self.memory_limit_bytes}
        path = getattr(self.task, "data", "")
        if path and entry.trains:
            used["task"]["data"] = data_hash or corpus(path).data_hash
        return hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:16]

    def label(self) -> str:
        """Return a short name within experiment and model, such as d512-s1 or n2048-k=5-r0."""
        parts = [] if self.task_name == experiments.info(self.experiment).task else [self.task_name]
        parts.append(f"{(self.task or Task).sign}{self.x}")
        if self.axis != "length" and self.length:
            parts.append(f"n{self.length}")
        parts += [value for value in (self.device, self.dtype) if value not in ("cpu", "float32")]
        variant = self._variant()
        parts += [variant] if variant else []
        parts += ["twin"] if self.twin else []
        if self.seed or not self.timing:
            parts.append(f"s{self.seed}")
        if self.repeat or self.timing:
            parts.append(f"r{self.repeat}")
        return "-".join(parts)

    def _variant(self) -> str:
        """Return what differs from the model's and the trunk's own settings, fit for a path."""
        words = [f"{key}={json.dumps(value)}" for key, value in sorted(self.mixer.items())]
        if self.short_convolution != "source":
            words.append(f"convolution={self.short_convolution}")
        if self.trunk != Trunk():
            words.append(f"trunk={self.trunk}")
        return re.sub(r"[^A-Za-z0-9_=+,.]+", "", ",".join(words))[:LONGEST_LABEL]

    @property
    def path(self) -> str:
        """results/runs/<experiment>/<model>/<label>-<hash>.json, relative to the repository."""
        model = registry.info(self.model).name
        return f"{RUNS}/{self.experiment}/{model}/{self.label()}-{self.key()[:8]}.json"


# Every setting that an option or a tier's key names, by name.
OPTIONS = {**Cell.model_fields, **Trunk.model_fields, **tasks.parameters()}
del OPTIONS["trunk"], OPTIONS["mixer"], OPTIONS["twin"]


def from_dict(values: dict[str, Any]) -> Cell:
    """Return the cell that `to_dict` wrote; raise InputError for an unknown key or a bad value."""
    try:
        return Cell.model_validate(values)
    except ValidationError as error:
        named = [part for part in error.errors()[0]["loc"] if part in OPTIONS or part == "mixer"]
        name = str(named[-1]) if named else ""
        place = where(name) if name else "the settings"
        raise input_error(error, place, "setting", name) from error


def option(name: str) -> str:
    """Return the command-line option of a setting."""
    return "--set" if name == "mixer" else "--" + name.replace("_", "-")


def where(name: str) -> str:
    """Return where a user changes a setting."""
    return f"`{option(name)}`, or the config"


def affinity() -> int:
    """Return how many CPU cores this process may use, its container's quota rounded down."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, int(min(cores or 1, _quota(CGROUP, CGROUPS))))


@functools.cache
def _quota(group: Path, groups: Path) -> float:
    """Return the cores' worth of time that the process's control groups allow; infinity if all.
    `group` is the file that names the process's own, `groups` the folder of all."""
    allowed = math.inf
    for line in group.read_text(encoding="utf-8").splitlines() if group.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        tree = groups / "cpu" if controllers else groups  # version 1 has a tree a controller
        own = tree / path.lstrip("/")
        for folder in (own, *own.parents):
            files = [folder / name for name in QUOTAS if (folder / name).is_file()]
            numbers = " ".join(file.read_text(encoding="ascii") for file in files).split()
            if len(numbers) == 2 and numbers[0] not in ("max", "-1"):  # which are no limit
                allowed = min(allowed, int(numbers[0]) / int(numbers[1]))
    return allowed


def threads(wanted: int) -> int:
    """Return the thread count to use: at most `affinity`, all of it for 0."""
    return min(wanted, affinity()) if wanted else affinity()
