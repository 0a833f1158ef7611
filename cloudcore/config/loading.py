"""File and environment -> Config, or every mistake at once. No library does that with lines: msgspec stops at the first
mistake; pydantic and cattrs report all, and none keeps lines.

    cloudcore.toml: 2 problems, nothing was started
      line 4  [api] port = "eighty"     must be an integer 0–65535 (0 picks a free port)
      line 5  [api] lisen = "0.0.0.0"   unknown key; did you mean 'listen'?
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from cloudcore.config import own_types
from cloudcore.config.lines import Lines, lines_of
from cloudcore.config.model import Bounds, Config
from cloudcore.errors import CloudError, Code

PREFIX, SEPARATOR = "CLOUDCORE_", "__"
SECTIONS: dict[str, Any] = get_type_hints(Config)
KINDS = {int: "an integer", float: "a number", str: "a text in quotes", bool: "true or false"}
SECRET_WORDS = ("secret", "password", "url")  # a broker's URL holds its password


@dataclass(frozen=True, slots=True)
class Mistake:
    where: str  # "line 4", or "environment"
    what: str  # as the user wrote it
    why: str


class BadConfiguration(CloudError):
    """Every mistake of one file and its environment."""

    def __init__(self, source: str, mistakes: list[Mistake]) -> None:
        count = "1 problem" if len(mistakes) == 1 else f"{len(mistakes)} problems"
        self.mistakes = mistakes
        wide, long = (max(len(text) for text in texts)
                      for texts in ([m.where for m in mistakes], [min(m.what, "x" * 60, key=len) for m in mistakes]))
        lines = [f"  {m.where:<{wide}}  {m.what:<{long}}   {m.why}" for m in mistakes]
        super().__init__(Code.CONFIGURATION, "\n".join([f"{source}: {count}, nothing was started", *lines]))


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """`path` None, or a file that is missing, is an empty file. Raises BadConfiguration."""
    text = ""
    if path is not None:
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            pass
        except (OSError, UnicodeDecodeError) as fault:
            why = fault.strerror if isinstance(fault, OSError) else "is not UTF-8"
            raise BadConfiguration(path.name, [Mistake("file", str(path), f"cannot be read: {why}")]) from None
    return parse(text, environ, path.name if path else "environment")


def parse(text: str, environ: Mapping[str, str], source: str = "cloudcore.toml") -> Config:
    mistakes: list[Mistake] = []
    values: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise BadConfiguration(source, [Mistake("file", "is not TOML", str(fault))]) from None
    lines = lines_of(text)
    _read_document(document, lines, values, mistakes)
    mistakes.sort(key=lambda mistake: int(mistake.where.split()[1]))
    _read_environment(environ, values, mistakes)
    if mistakes:
        raise BadConfiguration(source, mistakes)
    config = Config(**{name: kind(**values[name]) for name, kind in SECTIONS.items()})
    types = config.instance_types
    if why := own_types.unoffered(types.withdrawn, types.own):
        line = lines.get((own_types.SECTION, "withdrawn"))
        what = f"[{own_types.SECTION}] withdrawn = {shown('withdrawn', types.withdrawn)}"
        raise BadConfiguration(source, [Mistake(f"line {line}" if line else "environment", what, why)])
    return config


def _read_document(document: dict[str, Any], lines: Lines, values: dict[str, dict[str, Any]],
                   mistakes: list[Mistake]) -> None:
    def note(path: tuple[str, ...], what: str, why: str) -> None:
        line = next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), 1)
        mistakes.append(Mistake(f"line {line}", what, why))

    for section, content in document.items():
        if section not in SECTIONS:
            what = f"[{section}]" if isinstance(content, dict) else f"{section} = {shown(section, content)}"
            note((section,), what, "unknown section" + nearest(section, SECTIONS))
        elif not isinstance(content, dict):
            note((section,), f"{section} = {shown(section, content)}", f"must be a section: [{section}]")
        else:
            for name, value in content.items():
                if section == own_types.SECTION and isinstance(value, dict):
                    _read_type(name, value, values[section], note)
                    continue
                why = fault(section, name, value)
                if why:
                    note((section, name), f"[{section}] {name} = {shown(name, value)}", why)
                else:
                    values[section][name] = as_declared(section, name, value)


def _read_type(name: str, amounts: dict[str, Any], values: dict[str, Any],
               note: Callable[[tuple[str, ...], str, str], None]) -> None:
    found = list(own_types.faults(name, amounts))
    for key, why in found:
        what = f'[{own_types.SECTION}."{name}"]' + (f" {key} = {shown(key, amounts[key])}" if key else "")
        note((own_types.SECTION, *name.split("."), *([key] if key else [])), what, why)
    if not found:
        values["own"] = (*values.get("own", ()), own_types.read(name, amounts))


def _read_environment(environ: Mapping[str, str], values: dict[str, dict[str, Any]], mistakes: list[Mistake]) -> None:
    known = {f"{PREFIX}{section}{SEPARATOR}{name}".upper(): (section, name)
             for section in SECTIONS for name in fields_of(section)}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or SEPARATOR not in variable.removeprefix(PREFIX):
            continue
        if variable not in known:
            mistakes.append(Mistake("environment", variable, "unknown variable" + nearest(variable, known)))
            continue
        section, name = known[variable]
        value = from_text(kind_of(section, name), environ[variable])
        why = fault(section, name, value)
        if why:
            mistakes.append(Mistake("environment", f"{variable}={shown(name, environ[variable], plain=True)}", why))
        else:
            values[section][name] = as_declared(section, name, value)


def fault(section: str, name: str, value: Any) -> str:
    """Why this value may not stand there, or an empty text."""
    fields = fields_of(section)
    if name not in fields:
        return "unknown key" + nearest(name, fields)
    kind = kind_of(section, name)
    bounds: Bounds | None = fields[name].metadata["bounds"]
    right = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if not right or (isinstance(value, bool) and kind is not bool):
        return bounds.says if bounds and KINDS[kind] in bounds.says else f"must be {KINDS[kind]}"
    if isinstance(value, float) and value != value:
        return "must be a number"
    return bounds.says if bounds and not bounds.holds(value) else ""


def as_declared(section: str, name: str, value: Any) -> Any:
    return float(value) if kind_of(section, name) is float else value


def from_text(kind: type, text: str) -> Any:
    """The value that a variable's text means; the text itself when it means none of that kind."""
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
        return kind(text.strip()) if kind in (int, float) else text
    except (ValueError, KeyError):
        return text


def nearest(name: str, names: Iterable[str]) -> str:
    close = get_close_matches(name, list(names), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def shown(name: str, value: Any, plain: bool = False) -> str:
    """As the user wrote it, but never a secret (S45)."""
    if any(word in name.lower() for word in SECRET_WORDS):
        return "…"
    text = str(value) if plain else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else text[:39] + "…"


def fields_of(section: str) -> dict[str, dataclasses.Field[Any]]:
    """Its keys; what has a table of its own is none."""
    return {field.name: field for field in dataclasses.fields(SECTIONS[section]) if "bounds" in field.metadata}


def kind_of(section: str, name: str) -> type:
    return get_type_hints(SECTIONS[section])[name]
