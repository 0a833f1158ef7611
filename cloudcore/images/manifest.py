"""A bundle's manifest: an image in parts. Pure.

The form of EC2's bundle tools, for plain bundles: the parts are the image, cut. Their encrypted form (AES under a key
of EC2's own) can be opened by nobody but EC2 and is refused with that reason. A manifest's signature is not checked:
who may write the bucket may replace both; what the parts must be is said by their digests.

    <manifest><image>
      <size>29360128</size> <digest algorithm='SHA1'>..</digest>                          of the whole, optional
      <parts count='3'><part index='0'><filename>disk.part.00</filename><size>..</size>    size optional
        <digest algorithm='SHA1'>..</digest></part> ..
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from cloudcore.errors import CloudError, Code

LONGEST = 2**20  # bytes
MOST_PARTS = 10_000
DEEPEST = 32
ALGORITHMS = {"MD5": ("md5", 32), "SHA1": ("sha1", 40), "SHA-1": ("sha1", 40), "SHA256": ("sha256", 64)}
ENCRYPTED = ("ec2_encrypted_key", "user_encrypted_key", "ec2_encrypted_iv", "user_encrypted_iv")


@dataclass(frozen=True, slots=True)
class Check:
    """A digest in hex by an algorithm of hashlib."""

    algorithm: str
    digest: str


@dataclass(frozen=True, slots=True)
class Part:
    """`filename` stands beside the manifest."""

    filename: str
    check: Check
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    parts: tuple[Part, ...]
    size: int | None = None
    check: Check | None = None


class _Builder(TreeBuilder):
    """Refuses a document type at its first word, so that no entity is ever declared, and bounds depth."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise _refused("a document type is not allowed")

    def start(self, tag: str, attrs: dict[str, str]) -> Element:
        self._depth += 1
        if self._depth > DEEPEST:
            raise _refused(f"nested deeper than {DEEPEST}")
        return super().start(tag, attrs)

    def end(self, tag: str) -> Element:
        self._depth -= 1
        return super().end(tag)


def read_manifest(document: bytes) -> Manifest:
    """Raises CloudError(IMAGE_MANIFEST) with what is wrong."""
    if len(document) > LONGEST:
        raise _refused(f"longer than {LONGEST} bytes")
    parser = XMLParser(target=_Builder())  # noqa: S314  # bounded, and without document types
    try:
        parser.feed(document)
        root = parser.close()
    except (ParseError, ValueError, LookupError) as problem:
        raise _refused(f"no well-formed XML: {problem}") from None
    image = root.find("image")
    if root.tag != "manifest" or image is None:
        raise _refused("no <manifest> with an <image>")
    if any(image.find(name) is not None for name in ENCRYPTED):
        raise _refused("the bundle is encrypted for EC2, which alone can open it; upload the image itself")
    parts = _parts(image)
    whole = image.find("digest")
    return Manifest(parts, _size(image), _check(whole) if whole is not None else None)


def _parts(image: Element) -> tuple[Part, ...]:
    element = image.find("parts")
    found = element.findall("part") if element is not None else []
    if element is None or not 0 < len(found) <= MOST_PARTS:
        raise _refused(f"{len(found)} parts where 1 to {MOST_PARTS} are wanted")
    if element.get("count", str(len(found))) != str(len(found)):
        raise _refused(f"it says count={element.get('count', '')!r} and has {len(found)} parts")
    indices = [part.get("index", str(number)) for number, part in enumerate(found)]
    if sorted(indices, key=_number) != [str(number) for number in range(len(found))]:
        raise _refused("the parts' indices are not 0, 1, 2 and so on")
    in_order = sorted(zip(indices, found, strict=True), key=lambda pair: _number(pair[0]))
    return tuple(_part(part) for _, part in in_order)


def _part(part: Element) -> Part:
    filename = (part.findtext("filename") or "").strip()
    if not filename or "/" in filename or filename in (".", "..") or len(filename) > 255 or not filename.isprintable():
        raise _refused(f"{filename[:100]!r} is no name of a part beside the manifest")
    digest = part.find("digest")
    if digest is None:
        raise _refused(f"part {filename} has no digest")
    return Part(filename, _check(digest), _size(part))


def _check(element: Element) -> Check:
    known = ALGORITHMS.get(element.get("algorithm", "SHA1").upper())
    digest = (element.text or "").strip().lower()
    if known is None or len(digest) != known[1] or set(digest) - set("0123456789abcdef"):
        raise _refused(f"the digest {digest[:70]!r} by {element.get('algorithm', 'SHA1')[:20]!r} is none we know")
    return Check(known[0], digest)


def _size(element: Element) -> int | None:
    text = element.findtext("size")
    return None if text is None else _number(text.strip())


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise _refused(f"{text[:40]!r} is no number")
    return int(text)


def _refused(reason: str) -> CloudError:
    return CloudError(Code.IMAGE_MANIFEST, f"the manifest is refused: {reason}")
