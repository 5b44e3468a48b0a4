"""The subcommands of `pointer-bench`: what each takes and does. workflow.bench.cli chooses among them."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from pointer.errors import InputError
from workflow.bench import experiments, registry
from workflow.bench.run import STORE, measure, outcome
from workflow.bench.settings import FIELDS, from_namespace, option, parse_override

OK, FAILED = 0, 1
Config = dict[str, Any]


class Parser(argparse.ArgumentParser):
    """Reports bad options as InputError: one line, no usage block."""

    def error(self, message: str) -> NoReturn:
        """Raises InputError with argparse's message."""
        raise InputError(f"{message[:1].upper()}{message[1:]}. See `{self.prog} --help`.")


@dataclass(frozen=True)
class Command:
    """A subcommand: its one-line help, what adds its options, what runs it and returns the exit code."""

    help: str
    options: Callable[[Parser], None]
    run: Callable[[argparse.Namespace], int]


def _run_options(parser: Parser) -> None:
    for name, field in FIELDS.items():
        metavar = name.upper() if name != "mixer" else "KEY=VALUE"
        shown = (
            f"{field.metadata['help']} (default: {field.default})"
            if isinstance(field.default, str | int | float)
            else field.metadata["help"]
        )
        parser.add_argument(
            option(name), dest=name, metavar=metavar, help=shown, action="append" if name == "mixer" else "store"
        )
    parser.add_argument("--out", type=Path, help="the row's file; without it the row is printed")
    parser.add_argument(
        "--store", type=Path, help="a folder of finished rows: reuse the row if it is there, add it if not"
    )
    parser.add_argument(
        "--pipeline", type=Path, help="the file of the running pipeline: tells the time left after the row"
    )


def _run(arguments: argparse.Namespace) -> int:
    settings = from_namespace(arguments)
    if arguments.out is not None and arguments.out.is_dir():
        raise InputError.about("--out", str(arguments.out), "a file, not a folder", "`--out`")
    with tempfile.TemporaryDirectory(prefix="pointer-bench-") as scratch:
        row = measure(settings, Path(scratch), arguments.out, arguments.store)
    if arguments.out is None:
        print(json.dumps(row, indent=1, ensure_ascii=False))
    else:
        print(outcome(row) + _time_left(arguments.pipeline), flush=True)
    return OK


def _time_left(pipeline_file: Path | None) -> str:
    if pipeline_file is None:
        return ""
    from workflow.bench import pipeline

    try:
        return f"  [{pipeline.progress(pipeline_file)}]"
    except InputError:
        return ""  # a job that somebody runs by hand; its row counts, not its place in a queue


def _list_options(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def _list(arguments: argparse.Namespace) -> int:
    from workflow.bench import hardware

    models = [registry.info(name) for name in registry.names()]
    if arguments.json:
        listed = {
            "models": [asdict(m) for m in models],
            "experiments": [asdict(e) for e in experiments.EXPERIMENTS.values()],
        }
        print(json.dumps(listed | {"devices": hardware.devices()}, indent=1))
        return OK
    for kind in ("model", "control"):
        print(f"{kind}s")
        for entry in (m for m in models if m.kind == kind):
            print(f"  {entry.name:20} {entry.cost:18} {entry.position:22} {entry.citation}")
    print("experiments")
    for experiment in experiments.EXPERIMENTS.values():
        print(f"  {experiment.name:20} {experiment.question}")
    print("devices\n  " + "\n  ".join(f"{device:20} {hardware.device_name(device)}" for device in hardware.devices()))
    return OK


def _check_options(parser: Parser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="a name that `pointer-bench list` prints, or NAME=package.module:Class"
    )
    parser.add_argument(
        "--set", dest="mixer", metavar="KEY=VALUE", action="append", default=[], help=FIELDS["mixer"].metadata["help"]
    )


def _check(arguments: argparse.Namespace) -> int:
    registry.info(arguments.model)
    from workflow.bench.measure import contract

    broken = done = 0
    for name, passed, reason in contract.check(arguments.model, dict(map(parse_override, arguments.mixer))):
        print(f"{'ok  ' if passed else 'FAIL'}  {name}" + ("" if passed else f": {reason}"), flush=True)
        done, broken = done + 1, broken + (not passed)
    verdict = f"breaks {broken} of {done} checks: no number of it is published" if broken else "keeps its contract"
    print(" ".join([arguments.model, *arguments.mixer, verdict]))
    return FAILED if broken else OK


def _new_options(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="a new Python name in lower case, such as my_mixer")
    parser.add_argument("--cost", default="linear", help=f"{', '.join(registry.COSTS)} (default: %(default)s)")
    parser.add_argument("--position", default="none", help="what it knows of position (default: %(default)s)")
    parser.add_argument("--citation", help="author, year, title, where (default: to be filled in)")


def _new(arguments: argparse.Namespace) -> int:
    from workflow.bench import new

    citation = new.CITATION if arguments.citation is None else arguments.citation
    lines = new.make(arguments.name, cost=arguments.cost, position=arguments.position, citation=citation)
    print("\n".join(lines))
    return OK


def _trace_options(parser: Parser) -> None:
    parser.add_argument("--row", type=Path, required=True, help="a row of `interpretability`, its weights beside it")
    parser.add_argument("--position", type=int, required=True, help="where the chain starts, from 0")
    parser.add_argument("--head", type=int, default=0, help="pointer head (default: %(default)s)")
    parser.add_argument("--sequence", type=int, default=0, help="which fresh sequence (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="also write the trace as JSON")


def _trace(arguments: argparse.Namespace) -> int:
    from workflow.bench.measure import chains
    from workflow.bench.rows import write_atomically

    if arguments.sequence < 0:
        raise InputError.about("--sequence", arguments.sequence, "a whole number from 0", "`--sequence`")
    tokens, found = chains.follow(arguments.row, arguments.sequence)
    print("\n".join(chains.lines(tokens, found, arguments.position, arguments.head)))
    if arguments.out is not None:
        write_atomically(arguments.out, json.dumps(chains.content(tokens, found, arguments.position, arguments.head)))
    return OK


def _tier_options(parser: Parser, meaning: str = "a tier; several are merged (default: the default tier)") -> None:
    parser.add_argument("--configfile", nargs="+", default=[], metavar="FILE", help=meaning)
    parser.add_argument("--config", default="{}", metavar="JSON", help="keys of the config, on top of the files")


def _tier(arguments: argparse.Namespace) -> Config:
    from workflow.bench import config

    try:
        added = json.loads(arguments.config)
    except (ValueError, RecursionError):  # no JSON, or a number or a nesting without end
        added = None
    if not isinstance(added, dict):
        raise InputError.about("--config", arguments.config, 'a JSON object such as {"lengths": [4096]}', "`--config`")
    return config.from_files(arguments.configfile, added)


def _estimate_options(parser: Parser) -> None:
    _tier_options(parser)
    parser.add_argument("--store", type=Path, default=Path(STORE), help="where finished rows are kept")


def _estimate(arguments: argparse.Namespace) -> int:
    from workflow.bench import estimate, plan, store

    tier = _tier(arguments)
    print(f"tier {tier['tier']}")
    print("\n".join(estimate.summary(plan.cells(tier), store.Store(arguments.store))))
    return OK


def _plan(arguments: argparse.Namespace) -> int:
    from workflow.bench import plan

    print("\n".join(cell.path for cell in plan.cells(_tier(arguments))))
    return OK


def _verify_options(parser: Parser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a row, a folder of rows, a results folder")
    parser.add_argument("--manifest", nargs="+", default=[], type=Path, metavar="FILE", help="rows that must be there")
    _tier_options(parser, "a tier whose cells must be there (default: none is asked for)")
    parser.add_argument("--json", action="store_true", help="for programs")


def _verify(arguments: argparse.Namespace) -> int:
    from workflow.bench import plan, verify

    asked = arguments.configfile or arguments.config != "{}"
    cells = plan.cells(_tier(arguments)) if asked else []
    found = verify.check(arguments.paths, cells, arguments.manifest)
    write = verify.as_json if arguments.json else verify.as_text
    print(write(found, arguments.configfile))
    return FAILED if found.problems() else OK


def _compare_options(parser: Parser) -> None:
    parser.add_argument("a", type=Path, metavar="A", help="a folder of rows, such as results/reference/<machine>")
    parser.add_argument("b", type=Path, metavar="B", help="another one")
    parser.add_argument("--json", action="store_true", help="for programs")


def _compare(arguments: argparse.Namespace) -> int:
    from workflow.report import compare

    found = compare.compare(arguments.a, arguments.b)
    print(compare.as_json(found) if arguments.json else compare.as_text(found))
    return FAILED if found.counts()["differ"] else OK


def _gpu_check_options(parser: Parser) -> None:
    parser.add_argument("--out", type=Path, default=Path("results/gpu-check"), help="folder (default: %(default)s)")
    parser.add_argument("--dry", action="store_true", help="tiny sizes on the CPU, to test the command itself")


def _gpu_check(arguments: argparse.Namespace) -> int:
    try:
        from workflow.bench import gpu_check
    except ModuleNotFoundError as error:
        raise InputError(f"gpu-check needs the package {error.name!r}, which this Python lacks.") from error
    return OK if gpu_check.run(arguments.out, dry=arguments.dry) else FAILED


COMMANDS = {
    "list": Command("models, experiments and devices present", _list_options, _list),
    "run": Command("measure one row", _run_options, _run),
    "check": Command("does a model keep the contract that every model is held to?", _check_options, _check),
    "new": Command("write a baseline of your own to start from", _new_options, _new),
    "trace": Command("print where a position's pointers lead, layer by layer", _trace_options, _trace),
    "verify": Command("can rows be trusted, and are all there? exit code 1 if not", _verify_options, _verify),
    "compare": Command("do the ratios of two machines agree? exit code 1 if not", _compare_options, _compare),
    "estimate": Command("time and disk that a tier still takes", _estimate_options, _estimate),
    "plan": Command("the row files of a tier, one a line", _tier_options, _plan),
    "gpu-check": Command("is the suite right and fast on this machine's GPU?", _gpu_check_options, _gpu_check),
}
