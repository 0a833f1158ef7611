"""`cloudcore NOUN VERB ...`: argparse reads the command table, one row runs, refusals become words and exit codes.

Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 time-out; `status` has its own three.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cloudcore.cli.commands import COMMANDS, EVERYWHERE, NOUNS, Command
from cloudcore.cli.printing import DONE, FAILED, Console, Refusal
from cloudcore.cli.state import check, is_there
from cloudcore.errors import CloudError, Code

Function = Callable[[Any, Console], int]
INTERRUPTED = 130  # as shells say it


def main(argv: Sequence[str] | None = None, others: Mapping[str, Function] = MappingProxyType({})) -> int:
    """`others` replaces commands, by their words: tests give a cloud of their own."""
    console = Console()
    options = parser().parse_args(argv)
    if options.state is None:
        options.state = os.environ.get("CLOUDCORE_STATE") or "var"
    options.state = Path(options.state).expanduser().absolute()
    try:
        if is_there(options.state) and options.command.words != "doctor":
            check(options.state)
        perform = others.get(options.command.words) or function_of(options.command)
        return int(perform(options, console) or DONE)
    except CloudError as problem:
        if options.debug:
            traceback.print_exc()
        return console.error(problem)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `cloudcore logs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as problem:
        return console.error(accident(options, problem))


def accident(options: Any, problem: Exception) -> Refusal:
    """A mistake of ours in one line; the traceback goes to a file, or to the screen by --debug."""
    text = f"this is a mistake in cloudcore: {type(problem).__name__}: {problem}".rstrip(": ")
    if options.debug:
        traceback.print_exc()
        return Refusal(Code.INTERNAL, text, status=FAILED)
    file = options.state / "log" / "cli.log"
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as out:
            out.write(f"{datetime.now(UTC).isoformat()} {options.command.words}\n{traceback.format_exc()}\n")
    except OSError:
        return Refusal(Code.INTERNAL, text, "the same with --debug shows where", status=FAILED)
    return Refusal(Code.INTERNAL, text, "the same with --debug", f"the traceback is in {file}", status=FAILED)


def function_of(command: Command) -> Function:
    module, _, name = command.run.partition(":")
    return getattr(import_module(f"cloudcore.cli.{module}"), name)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="cloudcore", description="A private cloud that speaks EC2 and S3.")
    words = top.add_subparsers(metavar="COMMAND", required=True)
    verbs: dict[str, Any] = {}
    for command in COMMANDS:
        noun, _, verb = command.words.partition(" ")
        if not verb:
            fill(words.add_parser(noun, help=command.says, description=command.says), command)
            continue
        if noun not in verbs:
            own = words.add_parser(noun, help=NOUNS[noun], description=NOUNS[noun])
            verbs[noun] = own.add_subparsers(metavar="VERB", required=True)
        fill(verbs[noun].add_parser(verb, help=command.says, description=command.says), command)
    return top


def fill(made: argparse.ArgumentParser, command: Command) -> None:
    for argument in command.arguments + EVERYWHERE:
        made.add_argument(*argument.flags, **argument.options)
    made.set_defaults(command=command)


if __name__ == "__main__":
    sys.exit(main())
