"""On which line a TOML file has its sections and keys. tomllib gives values without places; this gives places without
values, and only for the forms that our own keys can take: `[section]`, `key = ...` and `section.key = ...`.
"""

from __future__ import annotations

import re

HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?$")
KEY = re.compile(r"""\s*([A-Za-z0-9_.\s"'-]+?)\s*=""")
TRIPLE = re.compile(r'"""' + "|'''")

Lines = dict[tuple[str, ...], int]


def lines_of(text: str) -> Lines:
    """(section,) and (section, key) -> line number from 1. What is not found has no entry."""
    found: Lines = {}
    section: tuple[str, ...] = ()
    inside = ""  # the quotes of a text of several lines
    for number, line in enumerate(text.splitlines(), 1):
        if inside:
            inside = "" if inside in line else inside
            continue
        if header := HEADER.match(line):
            section = names(header[1])
            found.setdefault(section, number)
        elif pair := KEY.match(line):
            found.setdefault(section + names(pair[1]), number)
        opened = TRIPLE.findall(line)
        inside = opened[-1] if len(opened) % 2 else ""
    return found


def names(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
