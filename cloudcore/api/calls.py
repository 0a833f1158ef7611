"""What an action works with: the cloud it acts on, who asks, and the two ways into the database.

`look` reads. `change` is one transaction for everything that a request makes: what `work` writes, and the audit record;
under DryRun it does all of it and takes it back, so that a rehearsal checks what the real thing would. After the commit
the conductor is told which operations are due; that is only a hint and never delays or fails the answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cloudcore.api.failpoints import Failpoint, none
from cloudcore.api.registrations import Registrations
from cloudcore.api.throttling import Throttle
from cloudcore.auth.model import AuthManager
from cloudcore.domain.callers import Caller
from cloudcore.domain.ids import RandomBytes
from cloudcore.domain.instance_types import InstanceType, table
from cloudcore.domain.quotas import LIMITS
from cloudcore.errors import CloudError, Code
from cloudcore.rpc.compute import Compute
from cloudcore.rpc.conductor import Conductor, Hint
from cloudcore.rpc.images import Images
from cloudcore.store.books import Books
from cloudcore.store.database import Store
from cloudcore.store.instances import LostRace

T = TypeVar("T")
RERUNS = 4  # of a whole transaction; PostgreSQL's are tried again before, where they ran
FEW = 100  # values in one request: to compare more with what is found is not short, however little that is
RECORDED = 1024  # characters of one parameter: who writes more does not fill the database with it
REDACTED = frozenset({"UserData", "PublicKeyMaterial", "ClientToken"})

log = Logger()


@dataclass(frozen=True)
class Cloud:
    """What the api is given. `clock` tells the time against which signatures are judged; `aliases` are further region
    names that may stand in a signature; `page_secret` signs page tokens and must be the same in every api process.
    `off_reactor(function, *args)` runs slow pure work (making RSA keys) in a thread. `limits` are default quotas."""

    clock: IReactorTime
    random: RandomBytes
    database: Store
    auth: AuthManager
    images: Images
    conductor: Conductor
    compute_of: Callable[[str], Compute]
    off_reactor: Callable[..., Deferred[Any]]
    page_secret: bytes
    region: str = "us-east-2"
    zones: tuple[str, ...] = ("us-east-2a",)
    endpoint: Callable[[], str] = lambda: "localhost"  # what DescribeRegions answers; the port may be chosen late
    cidr: str = "10.0.0.0/16"  # of the network that guests are on
    elastic_cidr: str = "10.91.0.0/24"  # of the pool of elastic addresses; empty: there is none
    aliases: Collection[str] = ()
    limits: Mapping[str, int] = field(default_factory=lambda: LIMITS)
    types: Mapping[str, InstanceType] = field(default_factory=table)  # that are offered, by name
    cell: str = "cell1"
    failpoint: Failpoint = none  # may end the process, under test
    registrations: Registrations = field(default_factory=Registrations)
    throttle: Throttle | None = None  # None: as often as one likes
    sigv2: bool = False  # whether Signature Version 2 is accepted


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a transaction made: the answer, the ids for the audit record, and the operations that are now due.

    `repeated` says that nothing was made, because a client token was used again: no second audit record."""

    answer: Mapping[str, Any] | None = None
    resources: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One authorised request. `given` is what was asked, keyed by the description's member names."""

    cloud: Cloud
    caller: Caller
    request_id: str
    service: str
    action: str
    given: Mapping[str, Any]
    dry_run: bool

    @property
    def project(self) -> str:
        return self.caller.project_id

    def parameter_hash(self) -> str:
        """Of everything that was asked except the client token."""
        asked = {name: value for name, value in self.given.items() if name != "ClientToken"}
        return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS, default=repr)).hexdigest()

    async def look(self, work: Callable[..., T], *args: Any) -> T:
        """`work(books, *args)`, which cannot write. Done at once where little was asked, and little is found."""
        database = self.cloud.database
        found = await (database.glance if few(self.given) else database.look)(work, *args)
        self.rehearsed()
        return found

    async def change(self, work: Callable[..., Outcome], *args: Any) -> Mapping[str, Any] | None:
        """`work(books, call, *args)`, which may run more than once when another transaction comes in between."""
        for _ in range(RERUNS):
            self.cloud.failpoint("api.commit.before")
            try:
                outcome = await self.cloud.database.transact(_recorded, self, work, args)
            except LostRace:
                continue
            self.cloud.failpoint("api.commit.after")
            for operation in outcome.operations:
                self.cloud.conductor.hint(Hint(operation)).addErrback(_unheard, operation)
            self.cloud.failpoint("api.hinted")
            return outcome.answer
        raise CloudError(Code.UNAVAILABLE, f"{self.action} lost its race {RERUNS} times")

    def rehearsed(self) -> None:
        """Where a DryRun ends."""
        if self.dry_run:
            raise CloudError(Code.DRY_RUN, "Request would have succeeded, but DryRun flag is set")


def _recorded(books: Books, call: Call, work: Callable[..., Outcome], args: tuple[Any, ...]) -> Outcome:
    outcome = work(books, call, *args)
    if not outcome.repeated:
        books.audit.record(call.caller, call.request_id, f"{call.service}:{call.action}", outcome.resources,
                           redacted(call.given))  # fmt: skip
    call.rehearsed()
    return outcome


def few(given: Any) -> bool:
    return values_in(given) <= FEW


def values_in(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(values_in, value.values()))
    return sum(map(values_in, value)) if isinstance(value, list) else 1


def redacted(value: Any) -> Any:
    """Fit for an audit record: no user data, no key material, no bytes, nothing long."""
    if isinstance(value, Mapping):
        if value.get("Attribute") == "userData":  # where it is named so, it stands in Value
            value = {**value, "Value": "…"}
        return {name: "…" if name in REDACTED else redacted(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(item) for item in value]
    if isinstance(value, str):
        return value if len(value) <= RECORDED else f"{value[:RECORDED]}…"
    return "…" if isinstance(value, bytes) else value


def _unheard(failure: Failure, operation: str) -> None:
    log.debug("the hint for {operation} was not heard: {reason}", operation=operation, reason=repr(failure.value))
