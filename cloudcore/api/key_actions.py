"""CreateKeyPair, ImportKeyPair, DescribeKeyPairs, DeleteKeyPair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudcore.api import key_material, tagging
from cloudcore.api.calls import Call, Outcome
from cloudcore.api.describing import TAG_FILTERS, Asked, Filter, Kind, Row, describe
from cloudcore.api.key_material import Material
from cloudcore.api.registry import Action
from cloudcore.domain.ids import new_id, well_formed
from cloudcore.domain.keys import KeyPair
from cloudcore.errors import CloudError, Code
from cloudcore.store.books import Books
from cloudcore.store.pages import Wanted

NAME = 255  # characters, prescribed


@dataclass(frozen=True, slots=True)
class CreateKeyPair:
    KeyName: str
    KeyType: str = "rsa"
    KeyFormat: str = "pem"
    TagSpecifications: tuple[tagging.TagSpecification, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportKeyPair:
    KeyName: str
    PublicKeyMaterial: bytes
    TagSpecifications: tuple[tagging.TagSpecification, ...] = ()


@dataclass(frozen=True, slots=True)
class DescribeKeyPairs:
    KeyNames: tuple[str, ...] = ()
    KeyPairIds: tuple[str, ...] = ()
    Filters: tuple[Filter, ...] = ()
    IncludePublicKey: bool = False


@dataclass(frozen=True, slots=True)
class DeleteKeyPair:
    KeyName: str | None = None
    KeyPairId: str | None = None


async def create_key_pair(call: Call, asked: CreateKeyPair) -> Mapping[str, Any] | None:
    """The private key is in this answer and nowhere else."""
    if asked.KeyType not in ("rsa", "ed25519"):
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.KeyType}' for KeyType")
    if asked.KeyFormat not in ("pem", "ppk"):
        raise CloudError(Code.BAD_VALUE, f"Invalid value '{asked.KeyFormat}' for KeyFormat")
    _check_name(asked.KeyName)
    tags = tagging.of_specifications(asked.TagSpecifications, "key-pair")
    made = await call.cloud.off_reactor(key_material.generate, asked.KeyType, asked.KeyName, asked.KeyFormat)
    answer = await call.change(_keep, asked.KeyName, made, tags)
    return {**(answer or {}), "KeyMaterial": made.private}


async def import_key_pair(call: Call, asked: ImportKeyPair) -> Mapping[str, Any] | None:
    _check_name(asked.KeyName)
    tags = tagging.of_specifications(asked.TagSpecifications, "key-pair")
    return await call.change(_keep, asked.KeyName, key_material.imported(asked.PublicKeyMaterial), tags)


def _check_name(name: str) -> None:
    if not (1 <= len(name) <= NAME and name.isascii() and name.isprintable() and name == name.strip()):
        text = f"Key names have 1 to {NAME} printable ASCII characters, without blanks around: '{name[:NAME]}'"
        raise CloudError(Code.BAD_VALUE, text)


def _keep(books: Books, call: Call, name: str, made: Material, tags: Mapping[str, str]) -> Outcome:
    id = new_id("key-pair", call.cloud.random)
    books.key_pairs.insert(KeyPair(id, call.project, name, made.type, made.fingerprint, made.public, books.now()))
    books.tags.begin(call.project, {id: "key-pair"}, tags)
    answer = {"KeyName": name, "KeyFingerprint": made.fingerprint, "KeyPairId": id, "Tags": tagging.shown(tags) or None}
    return Outcome(answer, (id,))


def _fetch(books: Books, call: Call, wanted: Wanted) -> Sequence[Row[KeyPair]]:
    return [Row(pair.created, pair.id, pair) for pair in books.key_pairs.page(call.project, wanted)]


def _view(call: Call, pair: KeyPair, tags: list[dict[str, str]]) -> dict[str, Any]:
    return {"KeyPairId": pair.id, "KeyName": pair.name, "KeyType": pair.type, "KeyFingerprint": pair.fingerprint,
            "CreateTime": pair.created, "PublicKey": pair.public_key, "Tags": tags}  # fmt: skip


KEY_PAIR: Kind[KeyPair] = Kind(
    fetch=_fetch,
    view=_view,
    noun="key pair",
    tags="key-pair",
    unknown=Code.KEY_PAIR_UNKNOWN,
    malformed=Code.KEY_PAIR_UNKNOWN,
    page=None,
    columns={"key-name": "name", "key-pair-id": "id"},
    filters={**TAG_FILTERS, "fingerprint": "KeyFingerprint", "key-name": "KeyName", "key-pair-id": "KeyPairId"},
)


async def describe_key_pairs(call: Call, asked: DescribeKeyPairs) -> Mapping[str, Any] | None:
    found = await call.look(_describe, call, asked)
    for pair in found:
        if not asked.IncludePublicKey:
            del pair["PublicKey"]
    return {"KeyPairs": found}


def _describe(books: Books, call: Call, asked: DescribeKeyPairs) -> list[dict[str, Any]]:
    ids = asked.KeyPairIds + tuple(books.key_pairs.named(call.project, name).id for name in asked.KeyNames)
    return describe(books, call, KEY_PAIR, Asked(ids, asked.Filters)).items


async def delete_key_pair(call: Call, asked: DeleteKeyPair) -> Mapping[str, Any] | None:
    """Deleting what is not there is no error."""
    if (asked.KeyName is None) == (asked.KeyPairId is None):
        raise CloudError(Code.MISSING_PARAMETER, "The request must contain either KeyName or KeyPairId")
    if asked.KeyPairId is not None and not well_formed("key-pair", asked.KeyPairId):
        raise CloudError(Code.KEY_PAIR_UNKNOWN, f"The key pair '{asked.KeyPairId}' does not exist")
    return await call.change(_delete, asked)


def _delete(books: Books, call: Call, asked: DeleteKeyPair) -> Outcome:
    gone = books.key_pairs.delete(call.project, name=asked.KeyName, id=asked.KeyPairId)
    if gone is None:
        return Outcome({"Return": True})
    books.tags.drop(gone.id)
    return Outcome({"Return": True, "KeyPairId": gone.id}, (gone.id,))


ACTIONS = {
    "CreateKeyPair": Action(create_key_pair, CreateKeyPair),
    "ImportKeyPair": Action(import_key_pair, ImportKeyPair),
    "DescribeKeyPairs": Action(describe_key_pairs, DescribeKeyPairs),
    "DeleteKeyPair": Action(delete_key_pair, DeleteKeyPair),
}
