"""AMQP's field tables and message properties as bytes, complete: booleans, negative numbers, arrays (`x-death`),
Unicode.

txAMQP's own codec counts characters where AMQP counts bytes and knows neither booleans nor arrays; importing this
module puts ours in its place, for the cold methods too.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import txamqp.codec
import txamqp.protocol

U16, U32, U64 = (struct.Struct(layout) for layout in ("!H", "!I", "!Q"))

FIXED = {b"t": "!?", b"b": "!b", b"B": "!B", b"s": "!h", b"u": "!H", b"I": "!i", b"i": "!I", b"l": "!q", b"L": "!q",
         b"f": "!f", b"d": "!d", b"T": "!Q", b"D": "!Bi", b"V": "!0s"}  # fmt: skip


def short_string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return bytes((len(raw),)) + raw


def long_bytes(raw: bytes) -> bytes:
    return U32.pack(len(raw)) + raw


def encode_value(value: Any) -> bytes:
    match value:
        case bool():
            return b"t\x01" if value else b"t\x00"
        case None:
            return b"V"
        case int():
            return b"l" + struct.pack("!q", value)
        case float():
            return b"d" + struct.pack("!d", value)
        case str():
            return b"S" + long_bytes(value.encode())
        case bytes():
            return b"x" + long_bytes(value)
        case Mapping():
            return b"F" + encode_table(value)
        case list() | tuple():
            return b"A" + long_bytes(b"".join(map(encode_value, value)))
    raise TypeError(f"no AMQP table type for {type(value).__name__}")


def encode_table(table: Mapping[str, Any]) -> bytes:
    return long_bytes(b"".join(short_string(key) + encode_value(value) for key, value in table.items()))


def decode_value(raw: bytes, at: int) -> tuple[Any, int]:
    kind, at = raw[at : at + 1], at + 1
    if layout := FIXED.get(kind):
        values = struct.unpack_from(layout, raw, at)
        value = None if kind == b"V" else values[0] if len(values) == 1 else values
        return value, at + struct.calcsize(layout)
    (length,) = U32.unpack_from(raw, at)
    end = at + 4 + length
    if kind == b"S":
        return raw[at + 4 : end].decode("utf-8", "backslashreplace"), end
    if kind == b"x":
        return raw[at + 4 : end], end
    if kind == b"F":
        return decode_table(raw, at)
    if kind == b"A":
        items, at = [], at + 4
        while at < end:
            item, at = decode_value(raw, at)
            items.append(item)
        return items, end
    raise ValueError(f"unknown AMQP table type {kind!r}")


def decode_table(raw: bytes, at: int) -> tuple[dict[str, Any], int]:
    (length,) = U32.unpack_from(raw, at)
    at, end, table = at + 4, at + 4 + length, {}
    while at < end:
        key, at = decode_short_string(raw, at)
        table[key], at = decode_value(raw, at)
    return table, end


def decode_short_string(raw: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + raw[at]
    return raw[at + 1 : end].decode(), end


class WireCodec(txamqp.codec.Codec):
    """Lengths counted in bytes, complete tables, for the cold methods too."""

    def enc_str(self, layout: str, text: str | bytes) -> None:
        raw = text.encode() if isinstance(text, str) else text
        self.pack(layout, len(raw))
        self.write(raw)

    def encode_table(self, table: Mapping[str, Any]) -> None:
        self.write(encode_table(table))

    def decode_table(self) -> dict[str, Any]:
        return decode_table(long_bytes(self.read(self.decode_long())), 0)[0]


txamqp.codec.Codec = txamqp.protocol.Codec = WireCodec  # the one global patch; both modules look the name up late


PROPERTIES = (("content_type", "s"), ("content_encoding", "s"), ("headers", "t"), ("delivery_mode", "B"),
              ("priority", "B"), ("correlation_id", "s"), ("reply_to", "s"), ("expiration", "s"), ("message_id", "s"),
              ("timestamp", "Q"), ("type", "s"), ("user_id", "s"), ("app_id", "s"))  # fmt: skip


def encode_properties(**values: Any) -> bytes:
    """Flags and values, ready for `publish`. Build once what does not change from message to message."""
    flags, parts = 0, []
    for position, (name, kind) in enumerate(PROPERTIES):
        value = values.pop(name, None)
        if value is None:
            continue
        flags |= 1 << 15 - position
        parts.append(short_string(value) if kind == "s" else encode_table(value) if kind == "t"
                     else struct.pack("!" + kind, value))  # fmt: skip
    if values:
        raise TypeError(f"no such message properties: {sorted(values)}")
    return U16.pack(flags) + b"".join(parts)


@lru_cache(maxsize=256)
def present(flags: int) -> tuple[tuple[str, str], ...]:
    return tuple(entry for position, entry in enumerate(PROPERTIES) if flags & 1 << 15 - position)


def decode_properties(raw: bytes, at: int) -> dict[str, Any]:
    (flags,) = U16.unpack_from(raw, at)
    at += 2
    found: dict[str, Any] = {}
    for name, kind in present(flags):
        if kind == "s":
            found[name], at = decode_short_string(raw, at)
        elif kind == "t":
            found[name], at = decode_table(raw, at)
        elif kind == "B":
            found[name], at = raw[at], at + 1
        else:
            (found[name],), at = U64.unpack_from(raw, at), at + 8
    return found


NO_PROPERTIES = encode_properties()

