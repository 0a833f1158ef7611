"""Frozen dataclasses to JSON and back, from their type hints, compiled once per class.

Both directions check: what is written is what the reader will accept, so a mistake shows at the sender, and with the
path of the field. Readers ignore fields they do not know and take the default of a field that is missing; hence a minor
version may add fields with defaults. Nothing here can run code or build a class that a declaration does not name.

A type is bool, int (64 bits), float (finite), str, bytes (base64), Enum (its value), Literal, Optional, Any (plain
JSON), tuple[X, ...], tuple[X, Y], list[X], dict[str, X], frozenset[X] (sorted), a NewType, a dataclass of these, or one
of TEXTS.
"""

from __future__ import annotations

import base64
import ipaddress
import math
import re
import types
import uuid
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import orjson

from cloudcore.rpc.faults import Malformed, TooLarge

T = TypeVar("T")

LIMIT = 256 * 1024  # bytes of one message: user data (16 KiB) and console output (64 KiB) in base64 fit well
DEPTH = 32  # nested arrays and objects; our deepest declared value needs about ten

TEXTS: dict[type, Callable[[Any], str]] = {
    ipaddress.IPv4Address: str, ipaddress.IPv4Network: str, ipaddress.IPv4Interface: str,
    ipaddress.IPv6Address: str, ipaddress.IPv6Network: str, ipaddress.IPv6Interface: str,
    uuid.UUID: str, datetime: datetime.isoformat,
}  # fmt: skip
READ_TEXT: dict[type, Callable[[str], Any]] = {kind: kind for kind in TEXTS} | {datetime: datetime.fromisoformat}
SCALARS = (bool, int, float, str)
BENEATH = {str: str.__str__, int: int.__int__, float: float.__float__}  # a subclass travels as what it is underneath
INT_MIN, INT_MAX = -(2**63), 2**63 - 1


class Coder(NamedTuple):
    """How one type travels. Both functions take (value, path) and raise Malformed naming the path."""

    pack: Callable[[Any, str], Any]
    unpack: Callable[[Any, str], Any]
    schema: Any  # what the fingerprint of a contract sees


class Undeclarable(TypeError):
    """A declaration uses a type that cannot travel; raised at import, not at the first message."""


STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)  # matches the unterminated too: linear on any input
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def depth(raw: bytes) -> int:
    """How deep the arrays and objects of a JSON text nest."""
    if raw.count(b"[") + raw.count(b"{") <= DEPTH:
        return 0  # cannot exceed the limit, which is all that is asked
    deepest = level = 0
    for bracket in STRING.sub(b"", raw).translate(None, NOT_BRACKETS):
        level += 1 if bracket in b"[{" else -1
        deepest = max(deepest, level)
    return deepest


def dumps(plain: Any, limit: int = LIMIT) -> bytes:
    """Plain JSON values as bytes. Raises TooLarge, or Malformed for what JSON or `loads` cannot take."""
    try:
        raw = orjson.dumps(plain)
    except (TypeError, ValueError) as problem:
        raise Malformed(f"not encodable: {problem}") from None
    if len(raw) > limit:
        raise TooLarge(f"{len(raw)} bytes, and the limit is {limit}")
    if depth(raw) > DEPTH:
        raise Malformed(f"nested deeper than {DEPTH}")
    return raw


def loads(raw: bytes, limit: int = LIMIT) -> Any:
    """The inverse. Raises Malformed; never hangs, whatever the bytes."""
    if len(raw) > limit:
        raise Malformed(f"{len(raw)} bytes, and the limit is {limit}")
    try:
        plain = orjson.loads(raw)
    except ValueError:
        raise Malformed("not JSON") from None
    if depth(raw) > DEPTH:
        raise Malformed(f"nested deeper than {DEPTH}")
    return plain


def encode(value: Any, limit: int = LIMIT) -> bytes:
    """One dataclass as JSON."""
    return dumps(pack(value), limit)


def decode(kind: type[T], raw: bytes, limit: int = LIMIT) -> T:
    return unpack(kind, loads(raw, limit))


def pack(value: Any) -> Any:
    """One dataclass as plain dict, list, str, int, float, bool, None."""
    try:
        return coder(type(value)).pack(value, type(value).__name__)
    except RecursionError:
        raise Malformed(f"{type(value).__name__}: nested deeper than {DEPTH}") from None


def unpack(kind: type[T], plain: Any) -> T:
    return coder(kind).unpack(plain, kind.__name__)


_coders: dict[Any, Coder] = {}


def coder(kind: Any) -> Coder:
    """The coder of a type, compiled at first use. Raises Undeclarable."""
    try:
        found = _coders.get(kind)
    except TypeError:  # unhashable: an annotation that is no type
        raise Undeclarable(f"{kind!r} cannot travel") from None
    if found is None:
        found = _coders[kind] = _dataclass(kind) if isinstance(kind, type) and is_dataclass(kind) else _compile(kind)
    return found


def _compile(kind: Any) -> Coder:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return Coder(_plain, lambda value, path: value, "any")
    if kind is None or kind is type(None):
        return Coder(_nothing, _nothing, "null")
    if kind in SCALARS:
        return _scalar(kind)
    if kind is bytes:
        return Coder(_pack_bytes, _unpack_bytes, "base64")
    if kind in TEXTS:
        return _text(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _one_of(kind.__name__, {member: member.value for member in kind})
    if hasattr(kind, "__supertype__"):
        return coder(kind.__supertype__)
    if origin is Literal:
        return _one_of("literal", {value: value for value in arguments})
    if origin in (Union, types.UnionType):
        return _optional(kind, arguments)
    if origin is dict and len(arguments) == 2 and coder(arguments[0]).schema in ("str",):
        return _dict(coder(arguments[1]))
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        return _fixed_tuple(tuple(coder(argument) for argument in arguments))
    if origin in SEQUENCES and arguments:
        return _sequence(origin, coder(arguments[0]))
    raise Undeclarable(f"{kind!r} cannot travel: see the head of cloudcore/rpc/codec.py for what can")


def _nothing(value: Any, path: str) -> None:
    if value is not None:
        raise Malformed(f"{path}: null wanted")


def _plain(value: Any, path: str) -> Any:
    """Checks what orjson would bend: NaN would travel as null, a tuple come back as a list."""
    if value is None or isinstance(value, (str, bool, int)) or isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list):
        return [_plain(item, path) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, path) for key, item in value.items()}
    raise Malformed(f"{path}: {type(value).__name__} is not plain JSON")


def _scalar(kind: Any) -> Coder:
    """bool is not an int here, and an int is welcome where a float is declared."""
    name = kind.__name__

    def check(value: Any, path: str) -> Any:
        if type(value) is kind:
            if kind is float and not math.isfinite(value):
                raise Malformed(f"{path}: not a finite number")
            if kind is int and not INT_MIN <= value <= INT_MAX:
                raise Malformed(f"{path}: beyond 64 bits")
            return value
        if kind is float and type(value) is int:
            return float(value)
        if isinstance(value, kind) and not isinstance(value, bool):
            return BENEATH[kind](value)
        raise Malformed(f"{path}: {name} wanted, not {type(value).__name__}")

    return Coder(check, check, name)


def _pack_bytes(value: Any, path: str) -> str:
    if not isinstance(value, bytes):
        raise Malformed(f"{path}: bytes wanted, not {type(value).__name__}")
    return base64.b64encode(value).decode()


def _unpack_bytes(value: Any, path: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError):
        raise Malformed(f"{path}: not base64") from None


def _text(kind: type) -> Coder:
    write, read = TEXTS[kind], READ_TEXT[kind]

    def pack(value: Any, path: str) -> str:
        if not isinstance(value, kind):
            raise Malformed(f"{path}: {kind.__name__} wanted, not {type(value).__name__}")
        return write(value)

    def unpack(value: Any, path: str) -> Any:
        if not isinstance(value, str):
            raise Malformed(f"{path}: {kind.__name__} wanted, not {type(value).__name__}")
        try:
            return read(value)
        except ValueError:
            raise Malformed(f"{path}: no {kind.__name__}") from None

    return Coder(pack, unpack, kind.__name__)


def _one_of(name: str, values: dict[Any, Any]) -> Coder:
    """`values`: member -> its JSON value, str or int."""
    if not all(isinstance(value, (str, int)) for value in values.values()):
        raise Undeclarable(f"{name}: only strings and integers can stand for a member")
    members = {(type(value), value): member for member, value in values.items()}

    def pack(value: Any, path: str) -> Any:
        try:
            return values[value]
        except (KeyError, TypeError):
            raise Malformed(f"{path}: not one of {name}") from None

    def unpack(value: Any, path: str) -> Any:
        try:
            return members[type(value), value]
        except (KeyError, TypeError):
            raise Malformed(f"{path}: not one of {name}") from None

    return Coder(pack, unpack, [name, *sorted(map(str, values.values()))])


def _optional(kind: Any, arguments: tuple[Any, ...]) -> Coder:
    inner = [argument for argument in arguments if argument is not type(None)]
    if len(inner) != 1:
        raise Undeclarable(f"{kind!r}: only `X | None` of all unions can travel")
    pack, unpack, schema = coder(inner[0])
    return Coder(
        lambda value, path: None if value is None else pack(value, path),
        lambda value, path: None if value is None else unpack(value, path),
        ["optional", schema],
    )


def _dict(inner: Coder) -> Coder:
    def over(convert: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
        def each(value: Any, path: str) -> dict[str, Any]:
            if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
                raise Malformed(f"{path}: a mapping with string keys wanted")
            return {key: convert(item, f"{path}[{key!r}]") for key, item in value.items()}

        return each

    return Coder(over(inner.pack), over(inner.unpack), ["dict", inner.schema])


SEQUENCES: dict[Any, type] = {tuple: tuple, list: list, frozenset: frozenset}


def _sequence(kind: type, inner: Coder) -> Coder:
    wanted = (list, tuple) if kind is not frozenset else (frozenset, set)

    def pack(value: Any, path: str) -> list[Any]:
        if not isinstance(value, wanted):
            raise Malformed(f"{path}: {kind.__name__} wanted, not {type(value).__name__}")
        packed = [inner.pack(item, f"{path}[]") for item in value]
        return sorted(packed, key=repr) if kind is frozenset else packed

    def unpack(value: Any, path: str) -> Any:
        if not isinstance(value, list):
            raise Malformed(f"{path}: an array wanted, not {type(value).__name__}")
        return kind(inner.unpack(item, f"{path}[]") for item in value)

    return Coder(pack, unpack, [kind.__name__, inner.schema])


def _fixed_tuple(inner: tuple[Coder, ...]) -> Coder:
    def over(kind: type, converts: list[Callable[[Any, str], Any]]) -> Callable[[Any, str], Any]:
        def each(value: Any, path: str) -> Any:
            if not isinstance(value, (list, tuple)) or len(value) != len(converts):
                raise Malformed(f"{path}: an array of {len(converts)} wanted")
            return kind(convert(item, f"{path}[]") for convert, item in zip(converts, value, strict=True))

        return each

    pack, unpack = over(list, [each.pack for each in inner]), over(tuple, [each.unpack for each in inner])
    return Coder(pack, unpack, ["fixed", *(each.schema for each in inner)])


def _dataclass(kind: type) -> Coder:
    """Compiled at the first value rather than here, so that a dataclass may contain itself."""
    table: list[tuple[str, Coder, bool]] = []
    name = kind.__name__

    def entries() -> list[tuple[str, Coder, bool]]:
        if not table:
            hints = get_type_hints(kind)
            table.extend((each.name, coder(hints[each.name]), _required(each)) for each in fields(kind) if each.init)
        return table

    def pack(value: Any, path: str) -> dict[str, Any]:
        if type(value) is not kind:
            raise Malformed(f"{path}: {name} wanted, not {type(value).__name__}")
        return {field: each.pack(getattr(value, field), f"{path}.{field}") for field, each, _ in entries()}

    def unpack(plain: Any, path: str) -> Any:
        if not isinstance(plain, dict):
            raise Malformed(f"{path}: an object wanted, not {type(plain).__name__}")
        found: dict[str, Any] = {}
        for field, each, required in entries():
            if field in plain:
                found[field] = each.unpack(plain[field], f"{path}.{field}")
            elif required:
                raise Malformed(f"{path}.{field}: missing")
        try:
            return kind(**found)
        except (ValueError, TypeError) as problem:  # a __post_init__ that refuses the values
            raise Malformed(f"{path}: {type(problem).__name__}") from None

    return Coder(pack, unpack, kind)


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def schema(kind: Any, seen: tuple[Any, ...] = ()) -> Any:
    """What the wire shape of a type is, as plain JSON, for fingerprints. A class inside itself is named only."""
    return _resolve(coder(kind).schema, seen)


def _resolve(found: Any, seen: tuple[Any, ...]) -> Any:
    if isinstance(found, list):
        return [_resolve(each, seen) for each in found]
    if not (isinstance(found, type) and is_dataclass(found)):
        return found
    if found in seen:
        return found.__name__
    hints = get_type_hints(found)
    inner = {
        field.name: [schema(hints[field.name], (*seen, found)), "required" if _required(field) else "default"]
        for field in fields(found) if field.init
    }  # fmt: skip
    return {found.__name__: inner}
