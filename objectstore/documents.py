"""XML in through one parser, XML out through one writer.

The parser takes no DTD, so there are no entities to expand, and is bounded in bytes, depth and elements (S13). The
writer escapes everything that is not an element; control characters, which XML 1.0 does not know, go out as numeric
references, as AWS writes them: clients that care ask for encoding-type=url.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from objectstore.refusals import Refused

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
DEPTH = 32
ELEMENTS = 60_000  # 10,000 parts of a Complete with a checksum each are 40,000; the bytes are bounded by the route
SPECIAL = re.compile("[&<>\"\x00-\x08\x0b-\x1f\x7f]")
NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


@dataclass(slots=True)
class Element:
    name: str
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, name: str) -> Iterator[Element]:
        return (child for child in self.children if child.name == name)

    def get(self, name: str) -> str | None:
        """The text of the only child of that name; MalformedXML when there are several."""
        found = list(self.all(name))
        if len(found) > 1:
            raise Refused("MalformedXML", f"The element {name} may stand once")
        return found[0].text.strip() if found else None


def parse_xml(body: bytes, root: str) -> Element:
    """The document, whose outermost element must be `root`, in S3's namespace or none. Raises MalformedXML."""
    stack, count = [Element("")], 0

    def start(name: str, _: object) -> None:
        nonlocal count
        count += 1
        namespace, _, local = name.rpartition(" ")
        if len(stack) > DEPTH or count > ELEMENTS or namespace not in ("", NAMESPACE):
            raise Refused("MalformedXML", "The document is too deep, too large or in another namespace")
        element = Element(local)
        stack[-1].children.append(element)
        stack.append(element)

    def data(text: str) -> None:
        stack[-1].text += text

    def refuse(*_: object) -> None:
        raise Refused("MalformedXML", "The document must not have a DTD or entities")

    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    parser.StartElementHandler, parser.CharacterDataHandler = start, data
    parser.EndElementHandler = lambda _: stack.pop() and None
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.UnparsedEntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = lambda *_: 0
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError):
        raise Refused("MalformedXML", "The document is not well-formed XML") from None
    found = stack[0].children[0]
    if found.name != root:
        raise Refused("MalformedXML", f"The document must be a {root}")
    return found


def escape(text: str) -> str:
    return SPECIAL.sub(lambda found: NAMED.get(found[0]) or f"&#x{ord(found[0]):x};", text)


def tag(name: str, text: str | int | bool | None) -> str:
    """An element with text; booleans as XML writes them; None is no element."""
    if text is None:
        return ""
    if isinstance(text, bool):
        return f"<{name}>{'true' if text else 'false'}</{name}>"
    return f"<{name}>{escape(text) if isinstance(text, str) else text}</{name}>"


def group(name: str, *children: str) -> str:
    """An element of elements that were already written."""
    return f"<{name}>{''.join(children)}</{name}>"


def document(name: str, *children: str) -> bytes:
    content = f'{DECLARATION}<{name} xmlns="{NAMESPACE}">{"".join(children)}</{name}>'
    return content.encode("utf-8", "replace")


def error_document(code: str, text: str, resource: str, request_id: str) -> bytes:
    """Errors, alone among S3's documents, have no namespace."""
    content = group("Error", tag("Code", code), tag("Message", text), tag("Resource", resource),
                    tag("RequestId", request_id))
    return (DECLARATION + content).encode("utf-8", "replace")
