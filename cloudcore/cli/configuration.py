"""`config check` and `config show`."""

from __future__ import annotations

import dataclasses
from typing import Any

from cloudcore.cli import state
from cloudcore.cli.printing import DONE, Console
from cloudcore.config.loading import SECRET_WORDS


def check(options: Any, console: Console) -> int:
    """Returns only when there is no mistake: loading raises all of them."""
    state.configuration(options)
    console.record({"configuration": "ok"}, options.json)
    return DONE


def show(options: Any, console: Console) -> int:
    shown = dataclasses.asdict(state.configuration(options))
    for section in shown.values():
        for name, value in section.items():
            if value and any(word in name for word in SECRET_WORDS) and not name.endswith("_file"):
                section[name] = "…"
    if options.json:
        console.json(shown)
        return DONE
    for section, keys in shown.items():
        for name, value in keys.items():
            console.line(f"{section}.{name} = {value!r}")
    return DONE
