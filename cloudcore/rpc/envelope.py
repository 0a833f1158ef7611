"""What surrounds a request, an answer and a fact, and the origin that follows a request through the services.

Deadlines travel as the seconds that remain, never as a time of day: clocks of different hosts may differ (I17). The bus
counts them from the moment it receives the message, and the broker counts the time that the message waits in it.

`origin()` is who asked, for which request; a dispatcher sets it around the service's method, a client sends it on, so
that a request id written by the API stands in every log of every service that worked for it. It is a context variable:
coroutines started by `Deferred.fromCoroutine` keep it, functions given to `addCallback` do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

from cloudcore.domain.callers import Caller
from cloudcore.rpc import codec
from cloudcore.rpc.codec import LIMIT
from cloudcore.rpc.faults import Malformed

Version = tuple[int, int]  # major, minor
FaultKind = Literal["declared", "internal", "malformed", "not-served"]


@dataclass(frozen=True, slots=True)
class Origin:
    """On whose behalf something is done. `cell` names the cluster that the request belongs to."""

    request_id: str = ""
    caller: Caller | None = None
    cell: str = ""


NOBODY = Origin()
_origin: ContextVar[Origin] = ContextVar("origin", default=NOBODY)


def origin() -> Origin:
    """The origin of what is being done now; `NOBODY` for a service's own work."""
    return _origin.get()


@contextmanager
def acting_for(origin: Origin) -> Iterator[None]:
    """Calls, and coroutines started, within carry this origin."""
    token = _origin.set(origin)
    try:
        yield
    finally:
        _origin.reset(token)


@dataclass(frozen=True, slots=True)
class Request:
    """One command. `remaining`: seconds that the caller still waits, counted when it was sent."""

    id: str
    contract: str
    version: Version
    method: str
    remaining: float
    origin: Origin


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no value. `text` is safe to show; `code` is a CloudError's; `reference` stands in both logs."""

    kind: FaultKind
    text: str = ""
    code: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one command: a value beside it, or this fault."""

    id: str
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """One fact, named by its class."""

    fact: str
    origin: Origin


Head = Request | Answer | Told


def seal(head: Head, body: Any, limit: int = LIMIT) -> bytes:
    """Head and plain body as one message. Raises TooLarge, Malformed."""
    return codec.dumps(codec.pack(head) | {"body": body}, limit)


def unseal(kind: type[codec.T], raw: bytes, limit: int = LIMIT) -> tuple[codec.T, Any]:
    """The inverse: the head, and the body still plain. Raises Malformed."""
    plain = codec.loads(raw, limit)
    if not isinstance(plain, dict):
        raise Malformed("a message is an object")
    body = plain.pop("body", None)
    return codec.unpack(kind, plain), body
