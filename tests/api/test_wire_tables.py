"""Runs the tables of tests/wire: conversations in requests and answers, readable without Python.

A step is `ask` (a query string; {name} is what an earlier step kept), and what the answer must be: `code` (an error;
the status follows from codes.py unless `status` says otherwise), `has` (path = text), `count` (path = number), `lacks`
(paths). `keep` names texts for later steps. `who` asks, alice if nobody is named. `event` moves an instance as the
conductor would: "guest-started {i}".

A step may also be asked otherwise: `repeat` = [text, n] appends the text n times, {n} being 1, 2 ...; `times` asks so
often, and the last answer counts; `late` is how many seconds ago it was signed, `secret` with what; `after` lets
seconds pass before. `world` changes what surrounds the api (see WORLD), for the case or from a step on.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
import sqlalchemy as sa
from twisted.internet.defer import Deferred, fail, maybeDeferred

from cloudcore.api import codes
from cloudcore.api.catalogue import ACTIONS
from cloudcore.api.site import Api, Reply
from cloudcore.api.throttling import Throttle
from cloudcore.domain.instances import Event
from cloudcore.domain.placement import Demand
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.conductor import Heartbeat
from cloudcore.signing.heads import Head, body_hash
from cloudcore.signing.signer import Signer, sign
from cloudcore.store.books import Books
from cloudcore.store.database import with_driver
from cloudcore.store.instance_pages import InstancePages
from cloudcore.store.pages import Wanted
from cloudcore.store.schema import metadata
from tests.api.conftest import ALICE, START, VERSIONS, Answer, a_house

TABLES = Path(__file__).parents[1] / "wire"


def cases() -> Iterator[Any]:
    for table in sorted(TABLES.glob("*.toml")):
        for case in tomllib.loads(table.read_text())["case"]:
            yield pytest.param(case, id=f"{table.stem}: {case['title']}")


def test_every_action_is_asked_in_a_table() -> None:
    asked = {
        (step.get("service", "ec2"), dict(parse_qsl(step["ask"], errors="surrogateescape")).get("Action"))
        for case in cases() for step in case.values[0]["step"] if "ask" in step
    }  # fmt: skip
    assert {(service, name) for service in ACTIONS for name in ACTIONS[service]} - asked == set()


@pytest.mark.parametrize("case", list(cases()))
def test_conversation(house: Any, case: dict[str, Any]) -> None:
    converse(house, case)


@pytest.mark.deadline(120)
def test_every_conversation_on_postgresql(postgresql_url: str) -> None:
    store = PostgreSQLInline(postgresql_url)
    try:
        for case in cases():
            store.empty()
            house = next(a_house(store=store))
            converse(house, case.values[0])
    finally:
        store.end()


class PostgreSQLInline:
    """As InlineDatabase, on PostgreSQL; `close` leaves it open for the next case."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(with_driver(url))
        metadata.create_all(self._engine)

    def run(self, work: Callable[..., Any], *args: Any) -> Any:
        with self._engine.begin() as connection:
            return work(Books(connection, lambda connection: START), *args)

    def transact(self, work: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return maybeDeferred(self.run, work, *args)

    look = glance = transact

    def empty(self) -> None:
        with self._engine.begin() as connection:
            connection.execute(sa.text(f"TRUNCATE {', '.join(metadata.tables)} CASCADE"))

    def close(self) -> None:
        pass

    def end(self) -> None:
        self._engine.dispose()


def converse(house: Any, case: dict[str, Any]) -> None:
    kept: dict[str, str] = {}
    change(house, case.get("world", {}))
    for step in case["step"]:
        change(house, step.get("world", {}))
        if "event" in step:
            event, id = step["event"].format(**kept).split()
            house.moved(id, Event(event), host="h1", address="10.0.0.9" if event == "guest-started" else None)
        if "ask" in step:
            answer = asked(house, step, kept)
            check(answer, step, kept)
            for name, path in step.get("keep", {}).items():
                kept[name] = answer.text(f".//{path}")
                assert kept[name], (step, answer)


def asked(house: Any, step: dict[str, Any], kept: dict[str, str]) -> Answer:
    pairs = parse_qsl(step["ask"].format(**kept), keep_blank_values=True, errors="surrogateescape")
    text, count = step.get("repeat", ("", 0))
    for number in range(1, count + 1):
        pairs += parse_qsl(text.format(n=number), keep_blank_values=True)
    service, who = step.get("service", "ec2"), step.get("who", "alice")
    body = urlencode([*pairs, ("Version", VERSIONS[service])], errors="surrogateescape").encode()
    house.clock.advance(step.get("after", 0))
    for _ in range(step.get("times", 1)):
        answer = Answer(signed(house, body, who, service, step))
    return answer


def signed(house: Any, body: bytes, who: str, service: str, step: dict[str, Any]) -> Reply:
    key, secret = house.keys[who]
    head = Head("POST", "/", "", {"host": "cloud:8773", "content-type": "application/x-www-form-urlencoded"})
    signer = Signer(step.get("key", key), step.get("secret", secret), "us-east-2", service)
    moment = house.clock.seconds() - step.get("late", 0)
    return house.respond(b"POST", b"/", sign(head, signer, moment, body_hash(body)), body)


def check(answer: Answer, step: dict[str, Any], kept: dict[str, str]) -> None:
    expected = codes.STATUS.get(step["code"], 400) if "code" in step else 200
    assert (answer.code, answer.status) == (step.get("code"), step.get("status", expected)), (step, answer)
    for path, value in step.get("has", {}).items():
        assert value.format(**kept) in answer.texts(f".//{path}"), (step, answer)
    for path, number in step.get("count", {}).items():
        assert len(answer.texts(f".//{path}")) == number, (step, answer)
    for path in step.get("lacks", []):
        assert not answer.texts(f".//{path}"), (step, answer)


# -- the world around the api -----------------------------------------------------------------------------------------


def change(house: Any, world: dict[str, Any]) -> None:
    for name, value in world.items():
        WORLD[name](house, value)


def beyond_refuses(house: Any, word: str) -> None:
    """Conductor, hosts and image worker, with a code of errors.py."""
    house.beyond.refusal = CloudError(Code(word), "beyond refuses")


def database_refuses(house: Any, word: str) -> None:
    """With a code of errors.py; "" is the end of that."""
    with_cloud(house, database=Away(Code(word)) if word else house.database)


def a_host(house: Any, words: str) -> None:
    """"name zone vcpus memory-mib disk-gib", as its heartbeat says."""
    name, zone, vcpus, memory, disk = words.split()
    beat = Heartbeat(host=name, cell="cell1", zone=zone, epoch=1, vcpus=int(vcpus), memory_mib=int(memory),
                     disk_gib=int(disk), guests=0, virt_type="kvm")  # fmt: skip
    house.works(lambda books: books.hosts.heard(beat))


def placed(house: Any, words: str) -> None:
    """"host": whatever waits for a place gets it there, with an address, as far as there is room."""

    def work(books: Books) -> None:
        for shown in books.over(InstancePages).page(ALICE, Wanted(limit=100), 0.0):
            one = shown.instance
            if books.hosts.claim(one.id, words, Demand(one.vcpus, one.memory_mib, one.disk_gib)):
                books.instances.place(one, words, books.addresses.claim(one.id))

    house.works(work)


def with_cloud(house: Any, **changes: Any) -> None:
    house.cloud = replace(house.cloud, **changes)
    house.api = Api(house.cloud)


class Away:
    def __init__(self, code: Code) -> None:
        self._code = code

    def look(self, work: Any, *args: Any) -> Deferred[Any]:
        return fail(CloudError(self._code, "canary: db.internal:5432"))

    transact = glance = look


WORLD: dict[str, Callable[[Any, Any], None]] = {
    "limits": lambda house, limits: with_cloud(house, limits={**house.cloud.limits, **limits}),
    "pool": lambda house, cidr: with_cloud(house, elastic_cidr=cidr),
    "throttled": lambda house, on: with_cloud(house, throttle=Throttle(house.clock.seconds) if on else None),
    "database-refuses": database_refuses,
    "beyond-refuses": beyond_refuses,
    "host": a_host,
    "network": lambda house, cidr: house.works(lambda books: books.addresses.create_network("n", cidr)),
    "placed": placed,
    "settled": lambda house, on: house.settled(),
}
