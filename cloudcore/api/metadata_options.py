"""How the metadata service shall answer an instance: said at launch, or changed later, with effect on the running
guest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloudcore.api import port_changes
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.owned import alive
from cloudcore.api.registry import Action, accepted
from cloudcore.domain.instances import Instance
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books

HOPS = range(1, 65)


@dataclass(frozen=True, slots=True)
class MetadataOptions:
    HttpTokens: str | None = None
    HttpPutResponseHopLimit: int | None = None
    HttpEndpoint: str | None = None
    InstanceMetadataTags: str | None = None


@dataclass(frozen=True, slots=True)
class ModifyInstanceMetadataOptions:
    InstanceId: str
    HttpTokens: str | None = None
    HttpPutResponseHopLimit: int | None = None
    HttpEndpoint: str | None = None
    InstanceMetadataTags: str | None = None


WORDS = {
    "HttpTokens": ("optional", "required"),
    "HttpEndpoint": ("enabled", "disabled"),
    "InstanceMetadataTags": ("enabled", "disabled"),
}


def changes(asked: MetadataOptions | ModifyInstanceMetadataOptions | None) -> dict[str, Any]:
    """The instance's attributes that are given a value. Raises BAD_VALUE."""
    if asked is None:
        return {}
    for name, words in WORDS.items():
        if getattr(asked, name) not in (None, *words):
            raise CloudError(Code.BAD_VALUE, f"Invalid value '{getattr(asked, name)}' for {name}: {' or '.join(words)}")
    hops, tags = asked.HttpPutResponseHopLimit, asked.InstanceMetadataTags
    if hops is not None and hops not in HOPS:
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{hops}' for HttpPutResponseHopLimit: 1 to 64")
    given = {"metadata_tokens": asked.HttpTokens, "metadata_hops": hops, "metadata_endpoint": asked.HttpEndpoint,
             "metadata_tags": None if tags is None else tags == "enabled"}  # fmt: skip
    return {name: value for name, value in given.items() if value is not None}


def view(instance: Instance) -> dict[str, Any]:
    """`pending` until the host has confirmed the latest change."""
    return {
        "State": "applied" if instance.port_applied >= instance.port_revision else "pending",
        "HttpTokens": instance.metadata_tokens,
        "HttpPutResponseHopLimit": instance.metadata_hops,
        "HttpEndpoint": instance.metadata_endpoint,
        "HttpProtocolIpv6": "disabled",
        "InstanceMetadataTags": "enabled" if instance.metadata_tags else "disabled",
    }


async def modify_metadata_options(call: Call, asked: ModifyInstanceMetadataOptions) -> Mapping[str, Any] | None:
    wanted = changes(asked)
    if not wanted:
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain a metadata option to change")
    return await call.change(_modify, asked.InstanceId, wanted)


def _modify(books: Books, call: Call, id: str, wanted: Mapping[str, Any]) -> Outcome:
    instance = alive(books, call, id)
    if wanted.get("metadata_tags"):
        port_changes.check_readable(books.tags.of(call.project, [id]).get(id, {}))
    operation = port_changes.reshaped(books, call, instance, **wanted)
    now = books.instances.of_project(call.project, [id])[id]
    return Outcome({"InstanceId": id, "InstanceMetadataOptions": view(now)}, (id,), (operation,))


ACTIONS = {
    "ModifyInstanceMetadataOptions": Action(
        modify_metadata_options, ModifyInstanceMetadataOptions, {"HttpProtocolIpv6": accepted("disabled")}
    ),
}
