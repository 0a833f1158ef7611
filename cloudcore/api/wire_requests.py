"""From names and values to one dictionary, by closures compiled from the description's shapes.

What the description does not say: the name on the wire is queryName, else locationName with its first letter raised,
else the member's name (W4); lists are Name.N, N sorted as integers, gaps and 0 allowed, a bare scalar is a list of one
(W5); an empty string for an optional member is absence (W6), except as the value of a tag: DeleteTags tells an empty
one from none; of NoDevice, which by being there says that a device is not; and of a text that STS or IAM require and
let be empty: so a role's description is taken away; booleans also True, False, 1, 0 (W7); blobs are base64 once (W8); a
parameter that is not in the description is refused (W15); STS and IAM write Name.member.N (W17).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from cloudcore.errors import CloudError, Code

Node = Any  # str, or {part of a name: Node}
Parser = Callable[[Node], Any]
INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
DECIMAL = re.compile(r"-?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
INDEX = re.compile(r"[0-9]{1,6}", re.ASCII)
WIDTH = {"integer": 1 << 31, "long": 1 << 63}
BOOLEANS = {"true": True, "false": False, "True": True, "False": False, "1": True, "0": False}
TAG = {"Key", "Value"}
ABSENT = object()


class Misfit(Exception):
    """A value that does not fit; the name grows from the inside out while the exception rises."""

    def __init__(self, code: Code, text: str, *names: str) -> None:
        super().__init__(code, text)
        self.code, self.text, self.names = code, text, list(names)

    def within(self, name: str) -> Misfit:
        self.names.insert(0, name)
        return self

    def refusal(self) -> CloudError:
        return CloudError(self.code, self.text.replace("{name}", ".".join(self.names)))


def tree(pairs: Iterable[tuple[str, str]]) -> dict[str, Node]:
    """{"Filter": {"1": {"Name": "tag:a"}}} from [("Filter.1.Name", "tag:a")]. Raises CloudError on a clash of names."""
    root: dict[str, Node] = {}
    for name, value in pairs:
        node, parts = root, name.split(".")
        for part in parts[:-1]:
            child = node.get(part)
            if child is None:
                child = node[part] = {}
            elif type(child) is str:
                raise CloudError(Code.BAD_VALUE, f"The parameter {name} is given both as a value and as a structure")
            node = child
        if parts[-1] in node:
            raise CloudError(Code.BAD_VALUE, f"The parameter {name} is given more than once")
        node[parts[-1]] = value
    return root


class Parsers:
    """The closures of one service, one per shape; `ec2` tells its protocol from the query protocol of STS and IAM."""

    def __init__(self, ec2: bool) -> None:
        self._ec2 = ec2
        self._by_shape: dict[str, Parser] = {}

    def operation(self, shape: Any) -> Callable[[Iterable[tuple[str, str]]], dict[str, Any]]:
        parser = self._shape(shape) if shape is not None else _nothing

        def parse(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
            try:
                value = parser(tree(pairs))
            except Misfit as misfit:
                raise misfit.refusal() from None
            return {} if value is ABSENT else value

        return parse

    def _shape(self, shape: Any) -> Parser:
        kind = shape.type_name
        if kind in SCALARS:
            return SCALARS[kind](shape)
        known = self._by_shape.get(shape.name)
        if known is None:
            made: list[Parser] = []
            self._by_shape[shape.name] = lambda node: made[0](node)  # a shape may contain itself
            made.append(getattr(self, f"_{kind}")(shape))
            known = self._by_shape[shape.name] = made[0]
        return known

    def _structure(self, shape: Any) -> Parser:
        members = {self._wire_name(ref, name): (name, self._member(ref)) for name, ref in shape.members.items()}
        required = [(self._wire_name(shape.members[name], name), name) for name in shape.required_members]
        emptied = {"Value"} if members.keys() == TAG else {"NoDevice"} if self._ec2 else {
            part for part, name in required if _may_be_empty(shape.members[name])}  # fmt: skip

        def parse(node: Node) -> Any:
            if type(node) is str:
                if node:
                    raise Misfit(Code.BAD_VALUE, "The parameter {name} is a structure, not a value")
                return ABSENT
            value = {}
            for part, child in node.items():
                known = members.get(part)
                if known is None:
                    raise Misfit(Code.UNKNOWN_PARAMETER, "The parameter {name} is not recognized", part)
                if child == "" and part in emptied:
                    value[known[0]] = ""
                    continue
                try:
                    item = known[1](child)
                except Misfit as misfit:
                    raise misfit.within(part) from None
                if item is not ABSENT:
                    value[known[0]] = item
            for part, name in required:
                if name not in value:
                    raise Misfit(Code.MISSING_PARAMETER, "The request must contain the parameter {name}", part)
            return value or (ABSENT if node else value)

        return parse

    def _member(self, ref: Any) -> Parser:
        """A list in the query protocol has one more part in its names, which stands on the reference or the shape."""
        if ref.type_name != "list" or self._ec2 or ref.serialization.get("flattened"):
            return self._shape(ref)
        part, inner = ref.member.serialization.get("name", "member"), self._shape(ref)

        def parse(node: Node) -> Any:
            if type(node) is str:
                return inner(node)
            for name in node:
                if name != part:
                    raise Misfit(Code.UNKNOWN_PARAMETER, "The parameter {name} is not recognized", name)
            return inner(node[part])

        return parse

    def _list(self, shape: Any) -> Parser:
        item, text = self._shape(shape.member), shape.member.type_name == "string"

        def parse(node: Node) -> Any:
            if type(node) is str:
                value = item(node)
                return ABSENT if value is ABSENT else [value]
            for part in node:
                if not INDEX.fullmatch(part):
                    raise Misfit(Code.UNKNOWN_PARAMETER, "The parameter {name} is not recognized", part)
            values = []
            for part in sorted(node, key=int):
                if text and node[part] == "":  # in a list an empty string is a value: that of an empty tag
                    values.append("")
                    continue
                try:
                    value = item(node[part])
                except Misfit as misfit:
                    raise misfit.within(part) from None
                if value is not ABSENT:
                    values.append(value)
            return values or ABSENT

        return parse

    def _map(self, shape: Any) -> Parser:
        """Name.entry.N.key, Name.entry.N.value; without `entry` when flattened."""
        key, value = self._shape(shape.key), self._shape(shape.value)
        names = shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")
        flattened = shape.serialization.get("flattened")

        def parse(node: Node) -> Any:
            if type(node) is str:
                return ABSENT
            entries = node if flattened else node.get("entry", {})
            if type(entries) is str or not all(type(entry) is dict and names[0] in entry for entry in entries.values()):
                raise Misfit(Code.BAD_VALUE, "The parameter {name} must be entries of key and value")
            return {key(entry[names[0]]): value(entry.get(names[1], "")) for entry in entries.values()} or ABSENT

        return parse

    def _wire_name(self, ref: Any, name: str) -> str:
        if not self._ec2:
            return ref.serialization.get("name", name)
        if "queryName" in ref.serialization:
            return ref.serialization["queryName"]
        located = ref.serialization.get("name", name)
        return located[0].upper() + located[1:] if "name" in ref.serialization else name


def _nothing(node: dict[str, Node]) -> dict[str, Any]:
    for part in node:
        raise Misfit(Code.UNKNOWN_PARAMETER, "The parameter {name} is not recognized", part)
    return {}


def scalar(read: Callable[[str, Any], Any]) -> Callable[[Any], Parser]:
    def compiled(shape: Any) -> Parser:
        def parse(node: Node) -> Any:
            if type(node) is not str:
                raise Misfit(Code.BAD_VALUE, "The parameter {name} is a value, not a structure")
            return read(node, shape) if node else ABSENT

        return parse

    return compiled


def _integer(text: str, shape: Any) -> int:
    if not INTEGER.fullmatch(text):
        raise Misfit(Code.BAD_VALUE, f"Value ({text[:64]}) for parameter {{name}} is invalid: an integer is expected")
    value, bounds, width = int(text), shape.metadata, WIDTH[shape.type_name]
    least, most = bounds.get("min", -width), bounds.get("max", width - 1)
    if not least <= value <= most:
        reason = f"Value ({value}) for parameter {{name}} is invalid: it must be from {least} to {most}"
        raise Misfit(Code.BAD_VALUE, reason)
    return value


def _decimal(text: str, shape: Any) -> float:
    if not DECIMAL.fullmatch(text):
        raise Misfit(Code.BAD_VALUE, f"Value ({text[:64]}) for parameter {{name}} is invalid: a number is expected")
    return float(text)


def _boolean(text: str, shape: Any) -> bool:
    if text not in BOOLEANS:
        raise Misfit(Code.BAD_VALUE, f"Value ({text[:64]}) for parameter {{name}} is invalid: true or false expected")
    return BOOLEANS[text]


def _blob(text: str, shape: Any) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Misfit(Code.BAD_VALUE, "The value of parameter {name} is invalid: base64 is expected") from None


def _timestamp(text: str, shape: Any) -> float:
    """Seconds since the epoch."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        reason = f"Value ({text[:64]}) for parameter {{name}} is invalid: an ISO 8601 time is expected"
        raise Misfit(Code.BAD_VALUE, reason) from None


def _may_be_empty(ref: Any) -> bool:
    return ref.type_name == "string" and not ref.enum and not ref.metadata.get("min")


SCALARS: dict[str, Callable[[Any], Parser]] = {
    "string": scalar(lambda text, shape: text),
    "character": scalar(lambda text, shape: text),
    "integer": scalar(_integer),
    "long": scalar(_integer),
    "float": scalar(_decimal),
    "double": scalar(_decimal),
    "boolean": scalar(_boolean),
    "blob": scalar(_blob),
    "timestamp": scalar(_timestamp),
}
