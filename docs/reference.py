#!/usr/bin/env python3
"""Writes docs/reference.md from the command table and the configuration's model: `.venv/bin/python docs/reference.py`.

A test compares; by hand nothing is changed there.
"""

from __future__ import annotations

import dataclasses
import json
from argparse import SUPPRESS
from collections.abc import Iterator
from pathlib import Path

from cloudcore.cli.commands import COMMANDS, EVERYWHERE, JSON, NOUNS, YES, Argument, Command
from cloudcore.config import own_types
from cloudcore.config.loading import SECTIONS, fields_of, kind_of
from cloudcore.domain.instance_types import BUILT_IN

FILE = Path(__file__).with_name("reference.md")
HEAD = """\
# Reference

Made by `docs/reference.py` from the command table and the configuration's model. Change those, then run it again.

## Command line

`cloudcore COMMAND`, or `bin/cloudcore COMMAND` in a clone. Results go to standard output: a table on a terminal,
tab-separated values in a pipe, JSON by `--json`. Everything else goes to standard error. Exit codes: 0 done, 1 failed,
2 usage, 3 refused, 4 time-out; `status` has its own: 0 healthy, 1 degraded, 2 down. `NO_COLOR` is heeded. Verbs that
destroy ask on a terminal, and need `--yes` elsewhere.
"""
CONFIGURATION = """\
## Configuration

One TOML file: `cloudcore.toml` in the state directory, or what `--config` names. It may be missing or empty. Every key
can be overridden by the variable beside it. `cloudcore config check` names all mistakes at once, `cloudcore config
show` every key as it counts.
"""
OWN_TYPES = f"""
The built-in types:

| type | vCPUs | memory (MiB) | disk that a host must have (GiB) |
|---|---|---|---|
{chr(10).join(f"| `{kind.name}` | {kind.vcpus} | {kind.memory_mib} | {kind.disk_gib} |" for kind in BUILT_IN)}

A type of your own, or one that replaces a built-in one, has a table in the file:

    [instance_types."m5.large"]
    vcpus = 2
    memory_mib = 8192
    disk_gib = 16"""
WORDS = {int: "integer", float: "number", str: "text", bool: "true or false"}


def reference() -> str:
    return "\n".join([HEAD, *commands(), CONFIGURATION, *configuration()]).rstrip() + "\n"


def commands() -> Iterator[str]:
    yield "With every command:\n"
    yield from map(described, EVERYWHERE)
    yield ""
    groups: dict[str, list[Command]] = {}
    for command in COMMANDS:
        noun, _, verb = command.words.partition(" ")
        groups.setdefault(noun if verb else "", []).append(command)
    for noun, members in groups.items():
        yield f"### {noun}: {NOUNS[noun]}\n" if noun else "### The cloud as a whole\n"
        for command in members:
            shown = [argument for argument in command.arguments if argument.options.get("help") != SUPPRESS]
            yield f"`cloudcore {' '.join([command.words, *map(synopsis, shown)])}`  "
            yield f"{command.says[0].upper()}{command.says[1:]}.\n"
            told = [described(one) for one in shown if one.options.get("help") and one not in (JSON, YES)]
            yield from [*told, ""] if told else []


def synopsis(argument: Argument) -> str:
    value = argument.options.get("metavar") or ""
    if argument.options.get("choices"):
        value = "|".join(argument.options["choices"])
    flag = argument.flags[-1]
    if not flag.startswith("-"):
        return value or flag.upper()
    text = f"{flag} {value}".rstrip()
    return text if argument.options.get("required") else f"[{text}]"


def described(argument: Argument) -> str:
    return f"* `{', '.join(argument.flags)}`: {argument.options['help']}"


def configuration() -> Iterator[str]:
    for section in SECTIONS:
        yield f"### [{section}]\n"
        yield "| key | default | what for | variable |\n|---|---|---|---|"
        for name, field in fields_of(section).items():
            cells = (f"`{name}`", f"`{json.dumps(field.default)}`", meaning(section, name, field),
                     f"`{variable(section, name)}`")
            yield f"| {' | '.join(cells)} |"
        if section == own_types.SECTION:
            yield OWN_TYPES
        yield ""


def meaning(section: str, name: str, field: dataclasses.Field[object]) -> str:
    bounds = field.metadata["bounds"]
    rule = bounds.says if bounds else WORDS[kind_of(section, name)]
    return f"{field.metadata['says']} ({rule})".replace("|", "\\|")


def variable(section: str, name: str) -> str:
    return f"CLOUDCORE_{section}__{name}".upper()


if __name__ == "__main__":
    FILE.write_text(reference(), "utf-8")
