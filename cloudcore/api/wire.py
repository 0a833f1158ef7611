"""The wire of EC2, STS and IAM, driven by botocore's own description of these services.

Nothing is copied: names, shapes and enums of every operation are read at run time from the installed package, through
two public classes, and compiled per operation into closures when it is first used. So a parameter that we do not honour
is still one that we recognise. This is the only module that knows botocore. What the description does not say is in
wire_requests.py and wire_answers.py (rules W1 to W18 of the wire).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel

from cloudcore.api import wire_answers, wire_requests

SERVICES = ("ec2", "sts", "iam")
Pairs = Iterable[tuple[str, str]]
Parse = Callable[[Pairs], dict[str, Any]]
Render = Callable[[Mapping[str, Any] | None, str, str], bytes]


@dataclass(frozen=True, slots=True)
class Operation:
    """`parse` reads names and values into a dictionary keyed by the description's member names (raises CloudError);
    `render` writes such a dictionary, with a request id and the version to echo, as the answer's document."""

    service: str
    name: str
    parse: Parse
    render: Render


class Wire:
    """The operations of the services, whether we offer them or not."""

    def __init__(self) -> None:
        self._models = {service: _model(service) for service in SERVICES}
        self._operations: dict[tuple[str, str], Operation] = {}
        self._parsers = {service: wire_requests.Parsers(service == "ec2") for service in SERVICES}
        self._writers = {service: wire_answers.Writers() for service in SERVICES}

    def operation(self, service: str, name: str) -> Operation | None:
        """None for a name that the service does not have."""
        found = self._operations.get((service, name))
        if found is None and name in self._models[service].operation_names:
            found = self._operations[service, name] = self._compiled(service, name)
        return found

    def version(self, service: str) -> str:
        """The API version of the description, such as 2016-11-15."""
        return str(self._models[service].api_version)

    def names(self, service: str) -> list[str]:
        return list(self._models[service].operation_names)

    def _compiled(self, service: str, name: str) -> Operation:
        model = self._models[service].operation_model(name)
        parse = self._parsers[service].operation(model.input_shape)
        if service == "ec2":
            render = self._writers[service].ec2(name, model.output_shape)
        else:
            render = self._writers[service].query(name, model.output_shape, model.metadata["xmlNamespace"])
        return Operation(service, name, parse, render)


@cache  # a description never changes while we run
def _model(service: str) -> ServiceModel:
    description = Loader().load_service_model(service, "service-2")
    _strip(description)
    return ServiceModel(description, service)


def _strip(node: Any) -> None:
    """The prose is two thirds of the memory."""
    if isinstance(node, dict):
        if isinstance(node.get("documentation"), str):
            del node["documentation"]
        for child in node.values():
            _strip(child)
    elif isinstance(node, list):
        for child in node:
            _strip(child)
