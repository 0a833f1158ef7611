"""One typed declaration that both sides of a call share.

    @dataclass(frozen=True)
    class Reboot:
        instance_id: str
        generation: int

    @dataclass(frozen=True)
    class Rebooted:
        at: float

    class Compute(Protocol):
        @call(since=(1, 0), timeout=10, errors=(Code.INSTANCE_UNKNOWN,))
        def reboot(self, request: Reboot) -> Deferred[Rebooted]: ...

    COMPUTE = contract("compute", (1, 0), Compute)

    bus.serve("compute.h1", dispatcher(COMPUTE, service))
    rebooted = await client(COMPUTE, bus, "compute.h1").reboot(Reboot("i-1", 7))

A contract's topic is its name; what one host serves is `f"{name}.{host}"`. Minor versions only add: a method with its
own `since`, a field with a default. A major version is another contract under another name (`compute2`), served beside
the old one. Only declared methods can be reached, and only declared errors travel by code; whatever else a service
raises is logged under a reference, and the caller gets `InternalFault(reference)`.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast, get_args, get_origin, get_type_hints
from uuid import uuid4

import orjson
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from cloudcore.errors import CloudError, Code
from cloudcore.rpc import codec
from cloudcore.rpc.codec import LIMIT, Undeclarable
from cloudcore.rpc.envelope import Answer, Fault, FaultKind, Request, Told, Version, acting_for, origin, seal, unseal
from cloudcore.rpc.faults import BusFault, InternalFault, Malformed, NotServed, PastDeadline, TooLarge

log = Logger()
P = TypeVar("P")
TERMS = "__call_terms__"


class Bus(Protocol):
    """What carries messages. Bodies are opaque; topics are [A-Za-z0-9._-]{1,200}. It is also a Service (start,
    stop)."""

    def serve(self, topic: str, handler: Callable[[bytes], Deferred[bytes]]) -> Deferred[None]:
        """Answer the commands of a topic; several that serve one topic, here or elsewhere, share the commands.

        Fires once commands can arrive. A handler that raises PastDeadline sends no answer; any other error of a handler
        is logged and becomes InternalFault at the caller.
        """

    def read(self, topic: str, handler: Callable[[bytes], Deferred[None] | None]) -> Deferred[None]:
        """Hear the facts of a topic; every reader hears each. Facts told before this fires are not heard."""

    def command(self, topic: str, body: bytes, timeout: float) -> Deferred[bytes]:
        """The answer of one server of the topic. Fails with NobodyListens at once, TimedOut after `timeout` seconds,
        Disconnected, TooLarge, InternalFault. A message that waited longer than `timeout` is never delivered."""

    def tell(self, topic: str, body: bytes) -> Deferred[None]:
        """Fires once the bus is responsible for the fact; that nobody reads it is no error."""


@dataclass(frozen=True)
class Terms:
    """What `@call` declares: since which version, the caller's patience in seconds, the errors that travel by code."""

    since: Version
    timeout: float
    errors: frozenset[Code]


@dataclass(frozen=True)
class Method:
    name: str
    terms: Terms
    request: type
    reply: type


@dataclass(frozen=True)
class Contract(Generic[P]):
    """`protocol` is what both sides are typed as; `methods` is read from it."""

    name: str
    version: Version
    protocol: type[P]
    methods: Mapping[str, Method]


F = TypeVar("F", bound=Callable[..., Any])


def call(since: Version, timeout: float, errors: tuple[Code, ...] = ()) -> Callable[[F], F]:
    """Marks a method of a Protocol: `def reboot(self, request: Reboot) -> Deferred[Rebooted]` (or Deferred[None])."""

    def mark(method: F) -> F:
        setattr(method, TERMS, Terms(since, timeout, frozenset(errors)))
        return method

    return mark


def contract(name: str, version: Version, protocol: type[P]) -> Contract[P]:
    """Raises Undeclarable where the Protocol cannot be a contract; so a mistake shows when the module is imported."""
    methods: dict[str, Method] = {}
    for attribute, function in inspect.getmembers(protocol, inspect.isfunction):
        if attribute.startswith("_"):
            continue
        terms = getattr(function, TERMS, None)
        if terms is None:
            raise Undeclarable(f"{name}.{attribute}: not marked with @call")
        if terms.since > version or terms.since[0] != version[0]:
            raise Undeclarable(f"{name}.{attribute}: since {terms.since} in a contract of version {version}")
        methods[attribute] = Method(attribute, terms, *_shapes(f"{name}.{attribute}", function))
    return Contract(name, version, protocol, methods)


def _shapes(name: str, function: Callable[..., Any]) -> tuple[type, type]:
    hints, parameters = get_type_hints(function), list(inspect.signature(function).parameters)
    reply = hints.get("return")
    if len(parameters) != 2 or parameters[1] not in hints or get_origin(reply) is not Deferred:
        raise Undeclarable(f"{name}: takes (self, request: Dataclass) and returns Deferred[Dataclass]")
    request, (answer,) = hints[parameters[1]], get_args(reply)
    for shape in (request, answer):
        codec.schema(shape)
    return request, answer


def describe(contract: Contract[Any]) -> dict[str, Any]:
    """Everything of a contract that the other side depends on, as plain JSON."""
    return {
        method.name: {
            "since": list(method.terms.since),
            "errors": sorted(code.value for code in method.terms.errors),
            "request": codec.schema(method.request),
            "reply": codec.schema(method.reply),
        }
        for method in contract.methods.values()
    }


def fingerprint(contract: Contract[Any]) -> str:
    """Changes whenever the wire form does; a test keeps one per contract and per release."""
    described = [contract.name, list(contract.version), describe(contract)]
    return hashlib.sha256(orjson.dumps(described, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def client(contract: Contract[P], bus: Bus, topic: str | None = None) -> P:
    """An object typed as the Protocol whose methods go over the bus.

    They fail with a CloudError that the method declares, or with one of rpc.faults. The default topic is the contract's
    name. The origin of the calling coroutine travels along.
    """
    where = topic or contract.name
    methods = {name: _remote(contract, method, bus, where) for name, method in contract.methods.items()}
    return cast(P, type(f"{contract.protocol.__name__}Client", (), methods)())


def _remote(contract: Contract[Any], method: Method, bus: Bus, topic: str) -> Callable[[Any, Any], Deferred[Any]]:
    pack, unpack = codec.coder(method.request).pack, codec.coder(method.reply).unpack
    timeout, name = method.terms.timeout, f"{contract.name}.{method.name}"

    def remote(self: object, request: Any) -> Deferred[Any]:
        head = Request(uuid4().hex, contract.name, contract.version, method.name, timeout, origin())
        try:
            raw = seal(head, pack(request, name))
        except BusFault:
            return fail(Failure())

        def answered(raw: bytes) -> Any:
            answer, body = unseal(Answer, raw)
            if answer.id != head.id:
                raise Malformed(f"{name}: the answer to another call")
            if answer.fault:
                raise _raised(answer.fault, name)
            return unpack(body, name)

        return bus.command(topic, raw, timeout).addCallback(answered)

    remote.__name__ = method.name
    return remote


def _raised(fault: Fault, name: str) -> Exception:
    if fault.kind == "declared":
        try:
            return CloudError(Code(fault.code), fault.text)
        except ValueError:  # a code newer than we are
            return CloudError(Code.INTERNAL, fault.text)
    if fault.kind == "internal":
        log.warn("{name} failed on the other side: {reference}", name=name, reference=fault.reference)
        return InternalFault(fault.reference)
    return NotServed(fault.text) if fault.kind == "not-served" else Malformed(fault.text)


def dispatcher(contract: Contract[P], service: P, limit: int = LIMIT) -> Callable[[bytes], Deferred[bytes]]:
    """A handler for `bus.serve`: reads, checks, performs, answers; fails only with PastDeadline."""

    def handle(raw: bytes) -> Deferred[bytes]:
        try:
            head, body = unseal(Request, raw, limit)
        except Malformed as problem:
            return succeed(_refuse("", problem))
        try:
            method = _served(contract, head)
            request = codec.coder(method.request).unpack(body, f"{contract.name}.{method.name}")
        except PastDeadline:
            return fail(Failure())
        except BusFault as problem:
            return succeed(_refuse(head.id, problem))
        with acting_for(head.origin):
            done = maybeDeferred(getattr(service, method.name), request)
        return done.addCallback(_answer, head, method, limit).addErrback(_explain, head, method)

    return handle


def _served(contract: Contract[Any], head: Request) -> Method:
    if head.remaining <= 0:
        raise PastDeadline(head.id)
    if head.contract != contract.name or head.version[0] != contract.version[0]:
        wanted = f"{head.contract} {head.version[0]}"
        raise NotServed(f"{contract.name} {contract.version[0]} is served here, not {wanted}"[:200])
    method = contract.methods.get(head.method)
    if method is None:
        raise NotServed(f"{contract.name} {contract.version[0]}.{contract.version[1]} has no {head.method[:60]}")
    return method


def _answer(reply: Any, head: Request, method: Method, limit: int) -> bytes:
    return seal(Answer(head.id), codec.coder(method.reply).pack(reply, method.name), limit)


def _refuse(id: str, problem: BusFault) -> bytes:
    kind: FaultKind = "not-served" if isinstance(problem, NotServed) else "malformed"
    log.warn("a command was refused: {problem}", problem=str(problem))
    return seal(Answer(id, Fault(kind, text=str(problem)[:500])), None)


def _explain(failure: Failure, head: Request, method: Method) -> bytes:
    problem = failure.value
    if isinstance(problem, PastDeadline):
        failure.raiseException()
    if isinstance(problem, CloudError) and problem.code in method.terms.errors:
        return seal(Answer(head.id, Fault("declared", text=problem.text[:2000], code=problem.code.value)), None)
    reference = uuid4().hex[:12]
    named = {"name": f"{head.contract}.{head.method}", "reference": reference, "request_id": head.origin.request_id}
    if isinstance(problem, (CloudError, BusFault, CancelledError)):  # no bug in code, so no traceback; still a surprise
        log.error("{name} failed, {reference}: {problem!r}", problem=problem, **named)
    else:
        log.failure("{name} failed, {reference}", failure, LogLevel.critical, **named)
    return seal(Answer(head.id, Fault("internal", reference=reference)), None)


def publish(bus: Bus, topic: str, fact: Any) -> Deferred[None]:
    """Tell what happened: a frozen dataclass named in the past tense (`GuestStarted`)."""
    try:
        raw = seal(Told(type(fact).__name__, origin()), codec.pack(fact))
    except (Malformed, TooLarge):
        return fail(Failure())
    return bus.tell(topic, raw)


def subscribe(bus: Bus, topic: str, handlers: Mapping[type, Callable[[Any], Any]]) -> Deferred[None]:
    """Hear the facts of a topic: `{GuestStarted: on_started}`. Facts of other classes pass by; a handler may return a
    Deferred, and what it raises is logged. Facts may come twice and late: they carry epoch and sequence."""
    by_name = {kind.__name__: (codec.coder(kind), handler) for kind, handler in handlers.items()}

    def hear(raw: bytes) -> Deferred[None] | None:
        try:
            head, body = unseal(Told, raw)
            if head.fact not in by_name:
                return None
            known, handler = by_name[head.fact]
            fact = known.unpack(body, head.fact)
        except Malformed as problem:
            log.warn("a fact on {topic} was dropped: {problem}", topic=topic, problem=str(problem))
            return None
        with acting_for(head.origin):
            return maybeDeferred(handler, fact).addErrback(_unheard, head.fact)

    return bus.read(topic, hear)


def _unheard(failure: Failure, fact: str) -> None:
    if not failure.check(CancelledError):
        log.failure("the reader of {fact} failed", failure, fact=fact)
