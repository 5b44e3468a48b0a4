"""`pointer-bench`, also `python -m workflow.bench`: measure a row, list what there is, check a model, estimate a tier.

Exit codes: 0 when it did what was asked (for `run`: a row was written, whatever its status), 2 for bad input, 1 for
anything else.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from pointer.errors import InputError
from workflow.bench.commands import COMMANDS, FAILED, OK, Parser
from workflow.bench.outcomes import EnvironmentFault, StoppedError
from workflow.bench.rows import RowError

BAD_INPUT, INTERRUPTED = 2, 130


def parser() -> Parser:
    """All subcommands and their options."""
    top = Parser(
        prog="pointer-bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    below = top.add_subparsers(dest="subcommand", required=True, metavar="COMMAND", parser_class=Parser)
    for name, command in COMMANDS.items():
        command.options(below.add_parser(name, help=command.help, description=command.help, allow_abbrev=False))
    return top


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options; raises InputError, with the nearest option for an unknown one."""
    if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        raise InputError.unknown("command", argv[0], COMMANDS, "the command line")
    # argparse would read -hops, or -h-ops, as -h and what follows
    short = [text for text in argv if argv[0] in COMMANDS and re.match("-[A-Za-z].", text)]
    namespace, extra = (None, short) if short else parser().parse_known_args(argv)
    if extra:
        probe = Parser(prog="")
        COMMANDS[argv[0]].options(probe)
        known = [text for action in probe._actions for text in action.option_strings]
        raise InputError.unknown("option", extra[0].partition("=")[0], known, "the command line")
    assert namespace is not None
    return namespace


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand and returns the exit code; bad input is one line on stderr."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        return COMMANDS[arguments.subcommand].run(arguments)
    except InputError as error:
        return _failed(error, BAD_INPUT)
    except BrokenPipeError:  # whoever read our output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (OSError, RowError, StoppedError, EnvironmentFault) as error:
        return _failed(error, FAILED)
    except KeyboardInterrupt:
        return _failed("interrupted; no result was written", INTERRUPTED)


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _failed(reason: object, code: int) -> int:
    line = f"pointer-bench: {' '.join(str(reason).split())}"
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:  # a log on a full disk
        print(line, flush=True)
    return code
