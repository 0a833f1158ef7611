"""A whole api without a socket: real store (SQLite in memory), real Auth Manager, and the three services beyond it as
fakes that record what they are asked."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock

from cloudcore.api.calls import Cloud
from cloudcore.api.site import Api, Reply
from cloudcore.api.wire import Wire
from cloudcore.auth.memory import MemoryAuthManager
from cloudcore.domain.images import Image
from cloudcore.domain.instances import Event, Instance
from cloudcore.rpc.compute import ConsoleText, Done, InstanceName, Screenshot, WantedScreenshot
from cloudcore.rpc.conductor import Heard, Hint
from cloudcore.rpc.images import ImageLocation, InspectedImage
from cloudcore.signing.heads import Head, body_hash
from cloudcore.signing.signer import Signer, sign
from cloudcore.store.books import Books
from cloudcore.store.database import InlineDatabase
from tests.api.settling import settle

Wire()  # the descriptions are large: frozen, they are out of the way of the collection that follows each test
gc.collect()
gc.freeze()

START = 1_767_225_600.0  # 2026-01-01T00:00:00Z
IMAGE = "ami-00000000000000001"
PUBLIC_IMAGE = "ami-00000000000000002"
ALICE, BOB = "111111111111", "222222222222"
VERSIONS = {"ec2": "2016-11-15", "sts": "2011-06-15", "iam": "2010-05-08"}


@dataclass
class Beyond:
    """Conductor, image worker and hosts."""

    hints: list[str] = field(default_factory=list)
    rebooted: list[str] = field(default_factory=list)
    inspected: list[ImageLocation] = field(default_factory=list)
    screenshots: list[WantedScreenshot] = field(default_factory=list)
    console_text: bytes = b"Linux version\n"
    refusal: Exception | None = None

    def hint(self, request: Hint) -> Deferred[Heard]:
        self.hints.append(request.operation)
        return succeed(Heard())

    def inspect(self, request: ImageLocation) -> Deferred[InspectedImage]:
        self.inspected.append(request)
        if self.refusal:
            return fail(self.refusal)
        return succeed(InspectedImage(request.location, "0" * 64, 1 << 20, "qcow2", 1 << 30))

    def adopt(self, request: ImageLocation) -> Deferred[InspectedImage]:
        self.inspected.append(request)
        if self.refusal:
            return fail(self.refusal)
        return succeed(InspectedImage(request.target, "0" * 64, 1 << 20, "qcow2", 1 << 30))

    def reboot(self, request: InstanceName) -> Deferred[Done]:
        self.rebooted.append(request.instance)
        return fail(self.refusal) if self.refusal else succeed(Done())

    def screenshot(self, request: WantedScreenshot) -> Deferred[Screenshot]:
        self.screenshots.append(request)
        return fail(self.refusal) if self.refusal else succeed(Screenshot(b"\xff\xd8\xff\xd9", START))

    def console(self, request: InstanceName) -> Deferred[ConsoleText]:
        return fail(self.refusal) if self.refusal else succeed(ConsoleText(self.console_text, START))


@dataclass
class House:
    """The api and everything around it. `ask` signs as one of the callers and reads the answer."""

    clock: Clock
    database: InlineDatabase
    beyond: Beyond
    cloud: Cloud
    api: Api
    keys: Mapping[str, tuple[str, str]]

    def ask(self, action: str, who: str = "alice", service: str = "ec2", **parameters: Any) -> Answer:
        pairs = [("Action", action), ("Version", VERSIONS[service])]
        pairs += [(name.replace("__", "."), str(value)) for name, value in parameters.items()]
        return self.post(pairs, who, service)

    def post(self, pairs: list[tuple[str, str]], who: str = "alice", service: str = "ec2") -> Answer:
        return Answer(self.send(urlencode(pairs, errors="surrogateescape").encode(), who, service))

    def send(self, body: bytes, who: str = "alice", service: str = "ec2", region: str = "us-east-2",
             **headers: str) -> Reply:  # fmt: skip
        sent = {"host": "cloud:8773", "content-type": "application/x-www-form-urlencoded; charset=utf-8", **headers}
        access_key, secret = self.keys[who]
        head = Head("POST", "/", "", sent)
        signed = sign(head, Signer(access_key, secret, region, service), self.clock.seconds(), body_hash(body))
        return self.respond(b"POST", b"/", signed, body)

    def respond(self, method: bytes, target: bytes, headers: Mapping[str, str], body: bytes = b"") -> Reply:
        raw = [(name.encode(), [value.encode()]) for name, value in headers.items()]
        got: list[Reply] = []
        done = Deferred.fromCoroutine(self.api.respond(method, target, raw, body)).addCallback(got.append)
        assert got, done
        return got[0]

    def works(self, work: Callable[..., Any], *args: Any) -> Any:
        return self.database.run(work, *args)

    def run(self, **parameters: Any) -> list[str]:
        """Ids of launched instances."""
        given = {"ImageId": IMAGE, "MinCount": 1, "MaxCount": 1, **parameters}
        return self.ask("RunInstances", **given).texts(".//instanceId")

    def settled(self) -> None:
        """As the conductor would: volumes and snapshots have come to the end of what is under way."""
        self.works(settle)

    def moved(self, id: str, event: Event, host: str | None = None, address: str | None = None) -> Instance:
        """As the conductor would."""

        def work(books: Books) -> Instance:
            found = books.instances.find(id)
            assert found
            if host:
                found = books.instances.place(found, host, address or "")
            return books.instances.observe(found, event)

        return self.works(work)


class Answer:
    """A reply, read as XML without namespaces."""

    def __init__(self, reply: Reply) -> None:
        self.reply, self.status = reply, reply.status
        self.root = ElementTree.fromstring(reply.document)  # noqa: S314  (our own document)
        for element in self.root.iter():
            element.tag = element.tag.rpartition("}")[2]

    @property
    def code(self) -> str | None:
        return self.text(".//Code") if self.root.tag in ("Response", "ErrorResponse") else None

    def text(self, path: str) -> str:
        return self.root.findtext(path) or ""

    def texts(self, path: str) -> list[str]:
        return [element.text or "" for element in self.root.findall(path)]

    def __repr__(self) -> str:
        return f"{self.status} {self.reply.document.decode()}"


def an_image(id: str, project: str, name: str, public: bool = False) -> Image:
    place = f"images/{name}"
    return Image(id, project, name, "", place, place, "0" * 64, 1 << 20, "qcow2", 1 << 30, "x86_64", "/dev/sda1",
                 public, "available", START)  # fmt: skip


@pytest.fixture
def house() -> Iterator[House]:
    yield from a_house()


def a_house(limits: Mapping[str, int] | None = None, store: Any = None) -> Iterator[House]:
    clock, beyond, generator = Clock(), Beyond(), random.Random(7)  # noqa: S311  (repeatable on purpose)
    clock.advance(START)
    database = store or InlineDatabase(now=clock.seconds)
    auth = MemoryAuthManager(clock, generator.randbytes)
    keys = {}
    for name, project, role in (("alice", ALICE, "user"), ("bob", BOB, "user"), ("eve", ALICE, "auditor"),
                                ("ada", ALICE, "admin"), ("nobody", ALICE, None)):  # fmt: skip
        if name in ("alice", "bob"):
            auth.create_project(name, project)
        auth.create_user(name)
        if role:
            auth.grant(name, role)
        made: list[Any] = []
        auth.create_access_key(name, "bob" if name == "bob" else "alice").addCallback(made.append)
        keys[name] = (made[0].id, made[0].secret.reveal())
    cloud = Cloud(
        clock=clock, random=generator.randbytes, database=database, auth=auth, images=beyond, conductor=beyond,
        compute_of=lambda host: beyond, off_reactor=maybeDeferred, page_secret=b"secret",
        zones=("us-east-2a", "us-east-2b"), aliases=("home",), **({"limits": limits} if limits else {}))  # fmt: skip

    def furnish(books: Books) -> None:
        books.images.insert(an_image(IMAGE, ALICE, "tiny"))
        books.images.insert(an_image(PUBLIC_IMAGE, BOB, "shared", public=True))

    database.run(furnish)
    yield House(clock, database, beyond, cloud, Api(cloud), keys)
    database.close()

