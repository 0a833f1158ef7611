"""From a dictionary to the answer's document, by closures compiled from the description's shapes. The one XML writer.

What the description does not say: the namespace ends in a slash and echoes the request's version (W1); an operation
without output answers <return>true</return> (W2); <requestId> comes first (W3); a tag stands on the reference, never
on the shape (W9); None is left out, an empty list or string is an empty element (W10); times end in .000Z (W11); STS
and IAM wrap their answer in <ActionResult> (W17). A key that the shape does not have is a KeyError: our bug, never the
client's.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from time import gmtime, strftime
from typing import Any

Write = Callable[[Any, list[str]], None]
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
SPECIAL = re.compile("[&<>\r\"\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}


def escaped(text: str) -> str:
    """What XML cannot hold at all becomes U+FFFD; requests with such characters are refused when they are read."""
    return SPECIAL.sub(lambda found: ESCAPES.get(found[0], "\ufffd"), text) if SPECIAL.search(text) else text


@lru_cache(4096)
def _whole_second(seconds: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S.000Z", gmtime(seconds))


def timestamp(seconds: float) -> str:
    return _whole_second(int(seconds // 1))


def boolean(value: bool) -> str:
    return "true" if value else "false"


SCALARS: dict[str, Callable[[Any], str]] = {
    "string": escaped,
    "character": escaped,
    "integer": lambda value: str(int(value)),
    "long": lambda value: str(int(value)),
    "float": lambda value: repr(float(value)),
    "double": lambda value: repr(float(value)),
    "boolean": boolean,
    "blob": lambda value: base64.b64encode(value).decode(),
    "timestamp": timestamp,
}


def wire_form(value: Any) -> str:
    """A value as a filter sees it: what the client would read in the answer."""
    if isinstance(value, bool):
        return boolean(value)
    return timestamp(value) if isinstance(value, float) else str(value)


class Writers:
    """The closures of one service, one per shape."""

    def __init__(self) -> None:
        self._by_shape: dict[str, Write] = {}

    def ec2(self, name: str, shape: Any) -> Callable[[Mapping[str, Any] | None, str, str], bytes]:
        body = self._content(shape) if shape is not None else None
        returns = shape is not None and "Return" in shape.members

        def render(answer: Mapping[str, Any] | None, request_id: str, version: str) -> bytes:
            out = [DECLARATION, f'<{name}Response xmlns="http://ec2.amazonaws.com/doc/{escaped(version)}/">',
                   f"<requestId>{escaped(request_id)}</requestId>"]  # fmt: skip
            if body is None:
                out.append("<return>true</return>")
            else:
                body({"Return": True, **(answer or {})} if returns else answer or {}, out)
            out.append(f"</{name}Response>")
            return "".join(out).encode()

        return render

    def query(self, name: str, shape: Any, namespace: str) -> Callable[[Mapping[str, Any] | None, str, str], bytes]:
        wrapper = shape.serialization.get("resultWrapper") if shape is not None else None
        body = self._content(shape) if shape is not None else None

        def render(answer: Mapping[str, Any] | None, request_id: str, version: str) -> bytes:
            out = [DECLARATION, f'<{name}Response xmlns="{namespace}">']
            if body is not None:
                out.append(f"<{wrapper}>")
                body(answer or {}, out)
                out.append(f"</{wrapper}>")
            out.append(f"<ResponseMetadata><RequestId>{escaped(request_id)}</RequestId></ResponseMetadata>")
            out.append(f"</{name}Response>")
            return "".join(out).encode()

        return render

    def _element(self, ref: Any, tag: str) -> Write:
        if ref.type_name == "list" and ref.serialization.get("flattened"):
            return self._flat(ref, ref.member.serialization.get("name", tag))
        opening, closing = f"<{tag}>", f"</{tag}>"
        form = SCALARS.get(ref.type_name)
        if form is not None:
            return lambda value, out: out.append(f"{opening}{form(value)}{closing}")
        content = self._content(ref)

        def write(value: Any, out: list[str]) -> None:
            out.append(opening)
            content(value, out)
            out.append(closing)

        return write

    def _member(self, ref: Any, tag: str) -> tuple[str, Callable[[Any], str] | None, str, Write]:
        """A scalar's form stands beside the closure that writes it: most of an answer are scalars, and each call that
        they do without counts."""
        return f"<{tag}>", SCALARS.get(ref.type_name), f"</{tag}>", self._element(ref, tag)

    def _flat(self, shape: Any, tag: str) -> Write:
        item = self._element(shape.member, tag)

        def write(value: Any, out: list[str]) -> None:
            for one in value:
                item(one, out)

        return write

    def _content(self, shape: Any) -> Write:
        known = self._by_shape.get(shape.name)
        if known is None:
            made: list[Write] = []
            self._by_shape[shape.name] = lambda value, out: made[0](value, out)  # a shape may contain itself
            made.append(getattr(self, f"_{shape.type_name}")(shape))
            known = self._by_shape[shape.name] = made[0]
        return known

    def _structure(self, shape: Any) -> Write:
        members = {name: self._member(ref, ref.serialization.get("name", name)) for name, ref in shape.members.items()}

        def write(value: Mapping[str, Any], out: list[str]) -> None:
            for name, item in value.items():
                if item is not None:
                    opening, form, closing, element = members[name]
                    if form is None:
                        element(item, out)
                    else:
                        out.append(f"{opening}{form(item)}{closing}")

        return write

    def _list(self, shape: Any) -> Write:
        return self._flat(shape, shape.member.serialization.get("name", "member"))

    def _map(self, shape: Any) -> Write:
        key = self._element(shape.key, shape.key.serialization.get("name", "key"))
        content = self._element(shape.value, shape.value.serialization.get("name", "value"))

        def write(value: Mapping[Any, Any], out: list[str]) -> None:
            for name, item in value.items():
                out.append("<entry>")
                key(name, out)
                content(item, out)
                out.append("</entry>")

        return write


def ec2_error(code: str, text: str, request_id: str) -> bytes:
    """The form that every EC2 client reads; note the capitals of RequestID."""
    return (f"{DECLARATION}<Response><Errors><Error><Code>{escaped(code)}</Code><Message>{escaped(text)}</Message>"
            f"</Error></Errors><RequestID>{escaped(request_id)}</RequestID></Response>").encode()  # fmt: skip


def query_error(code: str, text: str, request_id: str, fault: str = "Sender") -> bytes:
    """STS's and IAM's form; `fault` is Sender or Receiver."""
    return (f"{DECLARATION}<ErrorResponse><Error><Type>{fault}</Type><Code>{escaped(code)}</Code>"
            f"<Message>{escaped(text)}</Message></Error><RequestId>{escaped(request_id)}</RequestId>"
            f"</ErrorResponse>").encode()  # fmt: skip
