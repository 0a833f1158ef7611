"""Actions under their wire names, and how their typed parameters are filled.

An action declares a frozen dataclass of the members it reads, named as in the service's description. A member that the
description knows and the dataclass does not has one of three fates: accepted at the values that change nothing here,
ignored by decree with a reason, or refused by name.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from cloudcore.api.calls import Call
from cloudcore.errors import CloudError, Code

Answer = Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """At these values the member asks for what we do anyway."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Ignored:
    reason: str


Fate = Accepted | Ignored


def accepted(*values: Any) -> Accepted:
    return Accepted(values)


@dataclass(frozen=True)
class Action:
    """`fates` are keyed by path, without list indices: `Placement.Tenancy`. `read` makes the typed parameters of what
    was given; it raises UNSUPPORTED and MISSING_PARAMETER."""

    perform: Callable[[Call, Any], Awaitable[Answer]]
    parameters: type
    fates: Mapping[str, Fate] = field(default_factory=dict)
    read: Callable[[Mapping[str, Any]], Any] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "read", _structure(self.parameters, self.fates, ""))


@dataclass(frozen=True, slots=True)
class Nothing:
    """An action without parameters."""


def _structure(shape: type, fates: Mapping[str, Fate], path: str) -> Callable[[Mapping[str, Any]], Any]:
    hints = get_type_hints(shape)
    known = {one.name: _member(hints[one.name], fates, f"{path}{one.name}") for one in fields(shape)}

    def read(given: Mapping[str, Any]) -> Any:
        values = {}
        for name, value in given.items():
            if name not in known:
                _meet_fate(f"{path}{name}", value, fates)
                continue
            convert = known[name]
            values[name] = value if convert is None else convert(value)
        try:
            return shape(**values)
        except TypeError:
            missing = next(one.name for one in fields(shape) if one.name not in values)
            raise CloudError(Code.MISSING_PARAMETER, f"The request must contain {path}{missing}") from None

    return read


def _member(hint: Any, fates: Mapping[str, Fate], path: str) -> Callable[[Any], Any] | None:
    """None: the value as it is."""
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = [one for one in get_args(hint) if one is not type(None)]
    if get_origin(hint) is tuple:
        item = _member(get_args(hint)[0], fates, path)
        return tuple if item is None else lambda values: tuple(item(value) for value in values)
    return _structure(hint, fates, f"{path}.") if isinstance(hint, type) and is_dataclass(hint) else None


def _meet_fate(path: str, value: Any, fates: Mapping[str, Fate]) -> None:
    fate = fates.get(path)
    if isinstance(fate, Ignored) or (isinstance(fate, Accepted) and value in fate.values):
        return
    if isinstance(fate, Accepted):
        shown = str(value).lower() if isinstance(value, bool) else value
        raise CloudError(Code.UNSUPPORTED, f"The value '{shown}' of the parameter {path} is not supported")
    if isinstance(value, Mapping) and any(name.startswith(f"{path}.") for name in fates):
        for name, inner in value.items():
            _meet_fate(f"{path}.{name}", inner, fates)
        return
    if isinstance(value, list) and any(name.startswith(f"{path}.") for name in fates):
        for inner in value:
            for name, leaf in inner.items() if isinstance(inner, Mapping) else ():
                _meet_fate(f"{path}.{name}", leaf, fates)
        return
    raise CloudError(Code.UNSUPPORTED, f"The parameter {path} is not supported")
