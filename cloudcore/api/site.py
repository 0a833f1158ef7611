"""A request's biography, on one page: read, authenticate, authorise, perform, render.

`Api.respond` is the whole service without a socket; `transport.py` puts it on one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import uuid4

import orjson
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from cloudcore.api import codes, wire_answers
from cloudcore.api.calls import Call, Cloud
from cloudcore.api.catalogue import ACTIONS
from cloudcore.api.reading import VERSION, Reading, authenticate, meant, read
from cloudcore.api.wire import Operation, Wire
from cloudcore.domain.callers import Caller
from cloudcore.domain.policy import MINTING, permits
from cloudcore.errors import CloudError, Code

XML = b"text/xml;charset=UTF-8"
LONG = 100  # items that are rendered in between other requests: 5 ms; more go to a thread
OURS = "An internal error has occurred"
CATALOGUED = {Code.UNAVAILABLE: "The service is not available at the moment; try again"}  # the reason is for the log
log = Logger()


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    document: bytes
    request_id: str
    content_type: bytes = XML


class Api:
    """EC2, STS and IAM for one region. Everything it works with is in `cloud`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._wire = Wire()

    async def respond(self, method: bytes, target: bytes, headers: Collection[tuple[bytes, Sequence[bytes]]],
                      body: bytes) -> Reply:  # fmt: skip
        """Never raises, except when it is cancelled."""
        request_id, service = str(uuid4()), meant(target, headers)
        try:
            reading = read(method, target, headers, body, self._cloud.sigv2)
            service = reading.service
            if service not in ACTIONS:
                return _elsewhere(reading, request_id)
            return Reply(200, await self._served(reading, request_id), request_id)
        except CloudError as refused:
            return refusal(service, refused, request_id)
        except CancelledError:
            raise
        except Exception:
            log.failure("the request {request_id} failed", request_id=request_id)
            return refusal(service, CloudError(Code.INTERNAL, OURS), request_id)

    async def _served(self, reading: Reading, request_id: str) -> bytes:
        """The five steps; the first, reading, is done."""
        service = reading.service
        caller = await authenticate(self._cloud, reading)
        operation = self._operation(reading)
        _authorise(caller, f"{service}:{operation.name}", reading.private)
        action = ACTIONS[service].get(operation.name)
        if self._cloud.throttle is not None and action is not None:
            self._cloud.throttle.admit(caller.project_id, service, operation.name)
        given = operation.parse(reading.pairs)
        if action is None:
            raise CloudError(Code.UNSUPPORTED, f"The action {operation.name} is not supported")
        dry_run = bool(given.pop("DryRun", False))
        call = Call(self._cloud, caller, request_id, service, operation.name, given, dry_run)
        answer = await action.perform(call, action.read(given))
        call.rehearsed()
        version = reading.version or self._wire.version(service)
        if answer is not None and any(isinstance(item, list) and len(item) > LONG for item in answer.values()):
            return await self._cloud.off_reactor(operation.render, answer, request_id, version)
        return operation.render(answer, request_id, version)

    def _operation(self, reading: Reading) -> Operation:
        if reading.action is None:
            raise CloudError(Code.MISSING_ACTION, "The request must contain the parameter Action")
        if reading.version is not None and not VERSION.fullmatch(reading.version):
            raise CloudError(Code.BAD_VALUE, f"The Version '{reading.version[:64]}' is no date")
        found = self._wire.operation(reading.service, reading.action)
        if found is None:
            text = f"The action {reading.action[:128]} is not valid for this web service."
            raise CloudError(Code.UNKNOWN_ACTION, text)
        return found


def _authorise(caller: Caller, action: str, private: bool) -> None:
    if not permits(caller, action) or (action in MINTING and not private):
        raise CloudError(Code.NOT_AUTHORISED, f"You are not authorized to perform this operation: {action}")


def refusal(service: str, refused: CloudError, request_id: str) -> Reply:
    """An error document. A code that the service's table lacks is our bug: it says so, and the log says what."""
    code, status = codes.ec2(refused.code) if service == "ec2" else codes.query(refused.code)
    text = CATALOGUED.get(refused.code, refused.text)
    if code in ("InternalError", "InternalFailure", "Unavailable", "ServiceUnavailable"):
        log.error("the request {id} was refused by {code}: {text}", id=request_id, code=refused.code, text=refused.text)
    if status == 500:
        text = OURS
    if service == "ec2":
        return Reply(status, wire_answers.ec2_error(code, text, request_id), request_id)
    fault = "Receiver" if status >= 500 else "Sender"
    return Reply(status, wire_answers.query_error(code, text, request_id, fault), request_id)


def _elsewhere(reading: Reading, request_id: str) -> Reply:
    """Signed for a service that is not here: 400, in JSON where the client speaks it."""
    name = reading.service if reading.service.isascii() else "?"
    text = f"The service '{name[:64]}' is not offered here"
    if "x-amz-target" in reading.head.headers:
        document = orjson.dumps({"__type": "UnknownOperationException", "message": text})
        return Reply(400, document, request_id, b"application/x-amz-json-1.1")
    return refusal("ec2", CloudError(Code.UNSUPPORTED, text), request_id)
