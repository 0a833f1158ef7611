"""Contracts over the loopback bus: what passes, what is refused, what each side learns of the other's failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock

from cloudcore.bus.loopback import LoopbackBus
from cloudcore.domain.callers import Caller
from cloudcore.errors import CloudError, Code
from cloudcore.rpc import codec
from cloudcore.rpc.codec import Undeclarable
from cloudcore.rpc.contract import call, client, contract, describe, dispatcher, fingerprint, publish, subscribe
from cloudcore.rpc.envelope import NOBODY, Answer, Fault, Origin, Request, Told, acting_for, origin, seal, unseal
from cloudcore.rpc.faults import InternalFault, Malformed, NobodyListens, NotServed, PastDeadline, TimedOut, TooLarge


@dataclass(frozen=True)
class Reboot:
    instance_id: str
    generation: int = 0


@dataclass(frozen=True)
class Rebooted:
    text: str


class Compute(Protocol):
    @call(since=(1, 0), timeout=10, errors=(Code.INSTANCE_UNKNOWN,))
    def reboot(self, request: Reboot) -> Deferred[Rebooted]: ...

    @call(since=(1, 1), timeout=2)
    def forget(self, request: Reboot) -> Deferred[None]: ...


class Older(Protocol):
    @call(since=(1, 0), timeout=10, errors=(Code.INSTANCE_UNKNOWN,))
    def reboot(self, request: Reboot) -> Deferred[Rebooted]: ...


COMPUTE, OLDER = contract("compute", (1, 1), Compute), contract("compute", (1, 0), Older)


class Service:
    """Answers with what it is given: a value, an exception to raise, a Deferred."""

    def __init__(self, answer: Any = None) -> None:
        self.answer, self.requests, self.origins = answer, [], []

    def reboot(self, request: Reboot) -> Any:
        self.requests.append(request)
        self.origins.append(origin())
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or Rebooted(request.instance_id)

    def forget(self, request: Reboot) -> Deferred[None]:
        self.requests.append(request)
        return succeed(None)

    def secret(self, request: Reboot) -> Deferred[None]:
        raise AssertionError("reached, though not declared")


class Wire:
    """A client and a service on one loopback bus whose time stands until it is advanced."""

    def __init__(self, service: Any = None, served: Any = COMPUTE, used: Any = COMPUTE) -> None:
        self.clock = Clock()
        self.bus = LoopbackBus(self.clock)
        self.service = service or Service()
        self.bus.serve("compute", dispatcher(served, self.service))
        self.compute = client(used, self.bus)

    def result(self, waiting: Deferred[Any]) -> Any:
        results: list[Any] = []
        waiting.addBoth(results.append)
        for _ in range(5):
            self.clock.advance(0)
        assert results, "no answer yet"
        return getattr(results[0], "value", results[0])

    def raw(self, **changes: Any) -> Any:
        """The answer to a request whose envelope was tampered with."""
        head = codec.pack(Request("1", "compute", (1, 1), "reboot", 5.0, NOBODY)) | {"body": {"instance_id": "i"}}
        return self.sent(orjson.dumps(head | changes))

    def sent(self, raw: bytes) -> Any:
        answer = self.result(self.bus.command("compute", raw, 5))
        return unseal(Answer, answer) if isinstance(answer, bytes) else answer


def test_a_call_is_answered() -> None:
    wire = Wire()
    assert wire.result(wire.compute.reboot(Reboot("i-1", 7))) == Rebooted("i-1")
    assert wire.service.requests == [Reboot("i-1", 7)]


def test_a_call_may_answer_nothing() -> None:
    wire = Wire()
    assert wire.result(wire.compute.forget(Reboot("i-1"))) is None


def test_a_host_is_called_by_its_own_topic() -> None:
    wire = Wire()
    wire.bus.serve("compute.h1", dispatcher(COMPUTE, Service(Rebooted("by h1"))))
    assert wire.result(client(COMPUTE, wire.bus, "compute.h1").reboot(Reboot("i"))) == Rebooted("by h1")


def test_a_declared_error_travels_by_its_code() -> None:
    wire = Wire(Service(CloudError(Code.INSTANCE_UNKNOWN, "i-1 ist unbekannt ü")))
    problem = wire.result(wire.compute.reboot(Reboot("i-1")))
    assert (type(problem), problem.code, problem.text) == (CloudError, Code.INSTANCE_UNKNOWN, "i-1 ist unbekannt ü")


@pytest.mark.parametrize("problem", [CloudError(Code.CAPACITY, "not declared"), TimedOut("below"), CancelledError()])
def test_an_error_that_is_not_declared_stays_behind_a_reference(problem: Exception) -> None:
    wire = Wire(Service(problem))
    found = wire.result(wire.compute.reboot(Reboot("i-1")))
    assert type(found) is InternalFault
    assert len(found.reference) == 12


@pytest.mark.logs_failures(1)
def test_a_bug_stays_behind_a_reference_and_is_logged() -> None:
    wire = Wire(Service(ZeroDivisionError("a secret")))
    found = wire.result(wire.compute.reboot(Reboot("i-1")))
    assert type(found) is InternalFault
    assert "secret" not in str(found)


@pytest.mark.parametrize("answer", [Rebooted(7), Reboot("wrong class"), "text"])
def test_an_answer_of_the_wrong_shape_is_an_internal_fault(answer: Any) -> None:
    wire = Wire(Service(answer))
    assert type(wire.result(wire.compute.reboot(Reboot("i-1")))) is InternalFault


def test_an_answer_beyond_the_limit_is_an_internal_fault() -> None:
    wire = Wire(Service(Rebooted("x" * 300_000)))
    assert type(wire.result(wire.compute.reboot(Reboot("i-1")))) is InternalFault


@pytest.mark.parametrize(("request_", "kind"), [(Reboot(7), Malformed), ("i-1", Malformed),
                                                (Reboot("x" * 300_000), TooLarge)])  # fmt: skip
def test_a_bad_request_is_refused_before_it_is_sent(request_: Any, kind: type) -> None:
    wire = Wire()
    assert type(wire.result(wire.compute.reboot(request_))) is kind
    assert not wire.service.requests


def test_a_newer_client_learns_that_an_older_service_lacks_the_method() -> None:
    wire = Wire(served=OLDER)
    assert wire.result(wire.compute.reboot(Reboot("i"))) == Rebooted("i")
    assert type(wire.result(wire.compute.forget(Reboot("i")))) is NotServed


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"version": [2, 0]}, "not-served"),
        ({"contract": "network"}, "not-served"),
        ({"method": "secret"}, "not-served"),
        ({"method": "__init__"}, "not-served"),
        ({"method": 7}, "malformed"),
        ({"body": None}, "malformed"),
        ({"body": {"instance_id": None}}, "malformed"),
        ({"origin": {"caller": {"user_id": "admin"}}}, "malformed"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_and_not_executed(changes: dict[str, Any], kind: str) -> None:
    wire = Wire()
    answer, _ = wire.raw(**changes)
    assert answer.fault.kind == kind
    assert not wire.service.requests


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"null", b"\xff", b"[" * 1000, b'{"body":' * 100])
def test_bytes_that_are_no_request_are_refused(raw: bytes) -> None:
    answer, _ = Wire().sent(raw)
    assert answer.fault.kind == "malformed"


def test_unknown_fields_of_a_newer_caller_are_ignored() -> None:
    answer, body = Wire().raw(version=[1, 9], priority=3, body={"instance_id": "i", "force": True})
    assert (answer.fault, body) == (None, {"text": "i"})


@pytest.mark.parametrize("remaining", [0, -1.5])
def test_a_request_past_its_deadline_is_dropped_and_not_executed(remaining: float) -> None:
    service = Service()
    head = Request("1", "compute", (1, 1), "reboot", remaining, NOBODY)
    failures: list[Any] = []
    dispatcher(COMPUTE, service)(seal(head, {"instance_id": "i"})).addErrback(failures.append)
    assert failures[0].check(PastDeadline)
    assert not service.requests


def test_the_callers_patience_is_the_methods() -> None:
    wire = Wire(Service(Deferred()))
    results: list[Any] = []
    wire.compute.reboot(Reboot("i")).addBoth(results.append)
    wire.clock.pump([1] * 9)
    assert not results
    wire.clock.pump([1] * 2)
    assert results[0].check(TimedOut)


def test_a_call_to_nobody_fails_as_such() -> None:
    bus = LoopbackBus(clock := Clock())
    results: list[Any] = []
    client(COMPUTE, bus, "compute.h9").reboot(Reboot("i")).addBoth(results.append)
    clock.advance(0)
    assert results[0].check(NobodyListens)


def test_the_origin_travels_with_the_call_and_ends_with_it() -> None:
    who = Origin("req-1", Caller("AK", "u", "ann", "123456789012", "p", frozenset({"admin"})), "cell1")
    wire = Wire()
    with acting_for(who):
        waiting = wire.compute.reboot(Reboot("i"))
    wire.result(waiting)
    wire.result(wire.compute.reboot(Reboot("i")))
    assert wire.service.origins == [who, NOBODY]


def test_an_answer_to_another_call_is_refused() -> None:
    bus = LoopbackBus(clock := Clock())
    bus.serve("compute", lambda raw: succeed(seal(Answer("another"), {"text": "x"})))
    results: list[Any] = []
    client(COMPUTE, bus).reboot(Reboot("i")).addBoth(results.append)
    clock.advance(0)
    assert results[0].check(Malformed)


def test_an_error_code_of_the_future_is_still_a_refusal() -> None:
    def future(raw: bytes) -> Deferred[bytes]:
        head, _ = unseal(Request, raw)
        return succeed(seal(Answer(head.id, Fault("declared", "too heavy", code="gravity")), None))

    bus = LoopbackBus(clock := Clock())
    bus.serve("compute", future)
    results: list[Any] = []
    client(COMPUTE, bus).reboot(Reboot("i")).addBoth(results.append)
    clock.advance(0)
    assert (results[0].value.code, results[0].value.text) == (Code.INTERNAL, "too heavy")


def test_a_fingerprint_sees_the_wire_form_and_not_the_patience() -> None:
    class Patient(Protocol):
        @call(since=(1, 0), timeout=99, errors=(Code.INSTANCE_UNKNOWN,))
        def reboot(self, request: Reboot) -> Deferred[Rebooted]: ...

    class Silent(Protocol):
        @call(since=(1, 0), timeout=10)
        def reboot(self, request: Reboot) -> Deferred[Rebooted]: ...

    assert fingerprint(contract("compute", (1, 0), Patient)) == fingerprint(OLDER)
    assert len({fingerprint(each) for each in (OLDER, COMPUTE, contract("compute", (1, 0), Silent))}) == 3
    assert describe(OLDER) == {
        "reboot": {
            "since": [1, 0], "errors": ["instance-unknown"], "reply": {"Rebooted": {"text": ["str", "required"]}},
            "request": {"Reboot": {"instance_id": ["str", "required"], "generation": ["int", "default"]}},
        }
    }  # fmt: skip


def unmarked(self: Any, request: Reboot) -> Deferred[None]: ...
def without_reply(self: Any, request: Reboot) -> None: ...
def with_two(self: Any, request: Reboot, more: int) -> Deferred[None]: ...
def with_object(self: Any, request: object) -> Deferred[None]: ...


@pytest.mark.parametrize(
    "method",
    [unmarked, *(call(since=(1, 0), timeout=1)(each) for each in (without_reply, with_two, with_object)),
     call(since=(1, 2), timeout=1)(lambda self, request: None)],
)  # fmt: skip
def test_what_is_no_contract_is_refused_when_it_is_declared(method: Any) -> None:
    with pytest.raises(Undeclarable):
        contract("compute", (1, 1), type("Compute", (), {"method": method}))


@dataclass(frozen=True)
class GuestStarted:
    instance_id: str


@dataclass(frozen=True)
class GuestStopped:
    instance_id: str


def test_facts_reach_the_handler_of_their_class_and_others_pass_by() -> None:
    bus, heard = LoopbackBus(clock := Clock()), []
    subscribe(bus, "facts", {GuestStarted: lambda fact: heard.append((fact, origin().request_id))})
    with acting_for(Origin("req-7")):
        publish(bus, "facts", GuestStarted("i-1"))
        publish(bus, "facts", GuestStopped("i-1"))
    clock.advance(0)
    assert heard == [(GuestStarted("i-1"), "req-7")]


@pytest.mark.parametrize("raw", [b"", b"[]", seal(Told("GuestStarted", NOBODY), {"instance_id": 1})])
def test_a_malformed_fact_is_dropped(raw: bytes) -> None:
    bus, heard = LoopbackBus(clock := Clock()), []
    subscribe(bus, "facts", {GuestStarted: heard.append})
    bus.tell("facts", raw)
    publish(bus, "facts", GuestStarted("i-1"))
    clock.advance(0)
    assert heard == [GuestStarted("i-1")]


@pytest.mark.logs_failures(1)
def test_a_failing_handler_of_facts_hears_the_next() -> None:
    bus, answers = LoopbackBus(clock := Clock()), [fail(ZeroDivisionError()), succeed(None)]
    subscribe(bus, "facts", {GuestStarted: lambda fact: answers.pop(0)})
    for name in ("first", "second"):
        publish(bus, "facts", GuestStarted(name))
        clock.advance(0)
    assert not answers


def test_a_fact_that_cannot_travel_is_refused() -> None:
    failures: list[Any] = []
    publish(LoopbackBus(Clock()), "facts", GuestStarted(7)).addErrback(failures.append)
    assert failures[0].check(Malformed)
