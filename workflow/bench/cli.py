"""`pointer-bench`, also `python -m workflow.bench`: measure a row, list what there is, check a
model, estimate a tier.

Exit codes: 0 when it did what was asked (for `run`: a row was written, whatever its status), 2 for
bad input, 1 for anything else, 128 + its number where a signal ended it (SIGTERM: 143).
"""

from __future__ import annotations

import functools
import io
import json
import os
import pkgutil
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from pointer.errors import InputError
from workflow.bench import config, experiments, new, progress, rates, registry, rows
from workflow.bench.cell import OPTIONS, Cell, from_dict, option
from workflow.bench.outcomes import EnvironmentFault
from workflow.bench.rows import child, contracts, estimate, provenance, verify
from workflow.bench.rows import run as make
from workflow.bench.sessions import Session, by_file, with_twin
from workflow.bench.sources import REFERENCE

OK, FAILED, BAD_INPUT, SIGNALLED = 0, 1, 2, 128
KEPT = " (measured before, kept)"
SCHEMAS = {
    "tier": "workflow.bench.config:Tier",
    "cell": "workflow.bench.cell:Cell",
    "row": "workflow.bench.rows:Record",
    "registry": "workflow.bench.registry:Entry",
    "claims": "workflow.report.ledger:Ledger",
}
Command = Callable[..., Any]
PATH = click.Path(path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
MIXER = click.option("--set", "mixer", metavar="KEY=VALUE", multiple=True, help="of the mixer")
FILES = click.option("--configfile", "files", multiple=True, metavar="FILE", help="of a tier")
ADDED = click.option("--config", "added", default="{}", metavar="JSON", help="keys on top of it")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit code; bad input is one line on stderr."""
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as `nohup` asks for
        signal.signal(signal.SIGHUP, _terminate)
    _make_printing_safe()
    typed = list(sys.argv[1:] if argv is None else argv)
    message: object
    try:
        with pointer_bench.make_context("pointer-bench", typed) as context:
            return int(pointer_bench.invoke(context) or OK)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "pointer-bench"
        message, code = f"{error.format_message()} See `{path} --help`.", BAD_INPUT
    except InputError as error:
        message, code = error, BAD_INPUT
    except ModuleNotFoundError as error:
        message, code = f"this Python lacks the package {error.name!r}", BAD_INPUT
    except BrokenPipeError:  # whoever reads the output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (OSError, rows.RowError, EnvironmentFault) as error:
        message, code = error, FAILED
    except KeyboardInterrupt as error:
        message = "interrupted; no result was written"
        code = SIGNALLED + (error.args[0] if error.args else signal.SIGINT)
    print(f"pointer-bench: {' '.join(str(message).split())}", file=sys.stderr, flush=True)
    return code


def _terminate(number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt(number)


def _make_printing_safe() -> None:
    """Escape what a terminal cannot show; print to nowhere where a stream is closed."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@click.group(help=__doc__, no_args_is_help=False)
def pointer_bench() -> None:
    """Choose a subcommand."""


for name in ("compare", "merge", "why"):  # of the report, which nothing here imports
    pointer_bench.add_command(pkgutil.resolve_name(f"workflow.report.commands:{name}"))


def _settings(command: Command, left_out: Sequence[str] = ()) -> Command:
    """Add an option for every setting of a cell but those left out."""
    for name, field in reversed(OPTIONS.items()):
        words = str(field.description)
        if isinstance(field.default, str | int | float):
            words += f" (default: {field.default})"
        if name not in left_out:
            command = click.option(option(name), name, metavar=name.upper(), help=words)(command)
    return command


def parse_setting(text: str) -> tuple[str, Any]:
    """Return key and value of `--set key=value`: a JSON scalar where it reads as one, else text."""
    key, equals, value = text.partition("=")
    if not key.isidentifier() or not equals:
        raise InputError.about("--set", text, "key=value, such as k=64", "`--set`")
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):  # no JSON, or a number or a nesting without end
        return key, value
    return key, parsed if isinstance(parsed, str | int | float | bool) else value


def cell_of(options: dict[str, Any]) -> Cell:
    """Return the cell that options of `run` name."""
    settings = {key: value for key, value in options.items() if value is not None}
    settings["mixer"] = dict(parse_setting(text) for text in settings.get("mixer", ()))
    return Cell.of(settings.pop("experiment", None), settings.pop("model", None), **settings)


@pointer_bench.command()
@_settings
@MIXER
@click.option("--out", type=FILE, help="the row's file; without it the row is printed")
@click.option("--keep", is_flag=True, help="leave a finished row in --out as it is")
@click.option("--optional", is_flag=True, help="skip the row after the deadline of its tier")
def run(out: Path | None, keep: bool, optional: bool, **options: Any) -> None:
    """Measure one row."""
    cell = cell_of(options)
    with tempfile.TemporaryDirectory(prefix="pointer-bench-") as scratch:
        file = out or Path(scratch) / "row.json"
        row, kept = make.row_of(cell, file, keep=keep, optional=optional)
    if out is None:
        print(json.dumps(row, indent=1))
    else:
        before = KEPT if kept else ""
        progress.show(f"{make.outcome(row, cell.label())}{before}")


@pointer_bench.command("session")
@functools.partial(_settings, left_out=("experiment", "model"))
@click.argument("members", nargs=-1, required=True)
@click.option("--out", type=FILE, required=True, help="the file of the rows, a .jsonl")
@click.option("--keep", is_flag=True, help="leave finished rows in --out as they are")
def session_(members: Sequence[str], out: Path, keep: bool, **options: Any) -> None:
    """Time models in turn, in one process; one row a model and one of the first model's twin.
    MEMBERS are models, each with settings of its mixer behind it, such as "pointer k=32"."""
    cells, options["experiment"] = [], "efficiency"
    for member in members:
        model, *mixer = shlex.split(member)
        cells.append(cell_of({**options, "model": model, "mixer": mixer}))
    made, kept = make.rows_of(Session(with_twin(cells)), out, keep=keep)
    lines = [make.outcome(row, from_dict(row["settings"]).label()) for row in made]
    before = KEPT if kept else ""
    lines = [f"session {out.stem}{before}", *lines, *make.ratios(made)]
    progress.show("\n  ".join(lines))


@pointer_bench.command("list")
def list_() -> None:
    """Print models, experiments and the devices present."""
    models = [registry.info(name) for name in registry.names()]
    for kind in ("model", "control"):
        print(f"{kind}s")
        for model in models:
            if model.kind == kind:
                print(f"  {model.name:20} {model.cost:18} {model.position:22} {model.citation}")
    print("experiments")
    for experiment in experiments.EXPERIMENTS.values():
        print(f"  {experiment.name:20} {experiment.question}")
    print("devices")
    for device in provenance.devices():
        print(f"  {device:20} {provenance.device_name(device)}")


@pointer_bench.command()
@click.argument("model")
@MIXER
@click.option("--out", type=FILE, help="write the verdict there; exit code 0 whatever it is")
@click.option("--fresh", is_flag=True, help="check again although no source has changed")
def check(model: str, mixer: tuple[str, ...], out: Path | None, fresh: bool) -> int:
    """Check that a model keeps the contract that every model is held to; exit code 1 if not. MODEL
    is a name that `pointer-bench list` prints, or NAME=package.module:Class."""
    settings = dict(parse_setting(text) for text in mixer)
    with tempfile.TemporaryDirectory(prefix="pointer-bench-") as scratch:
        file = out or contracts.place(model, settings, Path(scratch))
        if fresh:
            file.unlink(missing_ok=True)
        known = contracts.known(model, settings, file)
        stdout = None if out is None else child.STDERR  # of a line a check
        verdict = known or contracts.verdict(model, settings, file, Path(scratch), stdout)
    failed = [f"FAIL  {name}: {reason}" for name, passed, reason in verdict.checks if not passed]
    words = verdict.reason or "keeps the contract"
    if failed:
        words = f"fails {len(failed)} of {len(verdict.checks)} checks: no number of it is published"
    if known:
        words += " (checked before, no source has changed; --fresh checks again)"
    line = " ".join([model, *mixer, words])
    if out is not None:
        out.touch()  # younger than what made Snakemake ask
        progress.show(line)
        return OK
    print("\n".join([*failed, line] if known else [line]))
    return FAILED if verdict.reason else OK


@pointer_bench.command("new")
@click.argument("name")
def new_(name: str) -> None:
    """Write a baseline to start from; NAME is a new Python name in lower case, such as my_mixer."""
    print("\n".join(new.make(name)))


@pointer_bench.command()
@click.option("--row", type=FILE, required=True, help="of `interpretability`, weights beside it")
@click.option("--position", type=int, required=True, help="where the chain starts, from 0")
@click.option("--head", type=int, default=0, show_default=True, help="pointer head")
@click.option("--sequence", type=click.IntRange(0), default=0, help="which fresh sequence")
@click.option("--out", type=FILE, help="also write the trace as JSON")
def trace(row: Path, position: int, head: int, sequence: int, out: Path | None) -> int:
    """Print where a position's pointers lead, layer by layer."""
    from workflow.bench.measure import pointers

    tokens, traced = pointers.follow(row, sequence)
    print("\n".join(pointers.chain_lines(tokens, traced, position, head)))
    if out is not None:
        content = pointers.chain_content(tokens, traced, position, head)
        rows.write_atomically(out, json.dumps(content))
    return OK


def _tier(files: Sequence[str], added: str) -> config.Config:
    try:
        content = json.loads(added)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError.about("--config", added, 'a JSON object: {"seeds": [7]}', "`--config`")
    return config.from_files(files, content)


@pointer_bench.command("estimate")
@FILES
@ADDED
def estimate_(files: Sequence[str], added: str) -> None:
    """Print the time that a tier still takes (default: the default tier)."""
    tier = _tier(files, added)
    cells = config.cells(tier)
    lines = estimate.summary(cells, estimate.seconds(cells))
    print("\n".join([f"tier {tier['tier']}", *lines]))


@pointer_bench.command("plan")
@FILES
@ADDED
def plan_(files: Sequence[str], added: str) -> None:
    """Print the row files of a tier, one a line (default: the default tier)."""
    print("\n".join(by_file(config.cells(_tier(files, added)))))


@pointer_bench.command("verify")
@click.argument("paths", nargs=-1, required=True, type=PATH)
@FILES
@ADDED
@click.option("--json", "as_json", is_flag=True, help="for programs")
def verify_(paths: Sequence[Path], files: Sequence[str], added: str, as_json: bool) -> int:
    """Check rows: is each sound, are all there? exit code 1 if not. PATHS are rows, folders of
    rows, results folders; with --configfile or --config every cell of that tier must be there."""
    cells = config.cells(_tier(files, added)) if files or added != "{}" else []
    checked = verify.check(paths, cells)
    write = verify.as_json if as_json else verify.as_text
    print(write(checked, files))
    return FAILED if checked.problems() else OK


@pointer_bench.command("rates")
@click.argument("paths", nargs=-1, required=True, type=PATH)
def rates_(paths: Sequence[Path]) -> None:
    """Write the learning rates that searches chose to config/learning_rates.yaml. PATHS are folders
    with rows of the experiment `rates`; of several sizes of a task, those of the committed
    reference too, the largest counts, and of one size the folder named last."""
    searches = [
        row
        for folder in (REFERENCE, *paths)
        for _, row in rows.read_rows(folder)
        if row["experiment"] == "rates" and row["status"] == "ok"
    ]
    found = []
    for row in sorted(searches, key=lambda row: float(row["x"])):
        cell = from_dict(row["settings"])
        model = row["model"] + registry.CONVOLUTIONS[cell.short_convolution]
        found.append((cell.task_name, str(cell.trunk), model, row["lr_chosen"]))
    rates.write(found)
    print(f"{len(found)} searches -> {rates.FILE.name}")


@pointer_bench.command()
@click.argument("what", type=click.Choice(list(SCHEMAS)))
def schema(what: str) -> None:
    """Print the JSON schema of a tier, a cell, a row, the registry's entries, or the claims."""
    print(json.dumps(pkgutil.resolve_name(SCHEMAS[what]).model_json_schema(), indent=1))


@pointer_bench.command("gpu-check")
@click.option("--out", type=PATH, default="results/gpu-check", show_default=True, help="folder")
@click.option("--dry", is_flag=True, help="tiny sizes on the CPU, to test the command itself")
def gpu_check(out: Path, dry: bool) -> int:
    """Check that the suite is right and fast on this machine's GPU."""
    from workflow.bench import gpu_check as checks

    return OK if checks.run(out, dry=dry) else FAILED
