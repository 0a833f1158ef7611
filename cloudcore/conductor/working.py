"""Takes due steps and performs them, so many at once. Hints make it look now; the sweep makes hints unnecessary.

A step ends in one of four ways, each durable: its function has written what follows; it is superseded; it is due again
after a delay; or nothing is written, and the lease expires.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from cloudcore.conductor.credentials import LOOKED, renewed
from cloudcore.conductor.means import Means
from cloudcore.conductor.steps import GAVE_UP, STEP_FUNCTIONS
from cloudcore.conductor.subjects import GaveUp, Outdated, again, refuse
from cloudcore.domain.operations import GIVES_UP, LEASE, retry_delay
from cloudcore.errors import CloudError
from cloudcore.rpc.faults import BusFault
from cloudcore.store.books import Books
from cloudcore.store.operations import Step, Superseded

SOON = 0.02  # seconds: steps that end together free their places for one look together
PRUNE_EVERY, PRUNE_AGE = 600.0, 86400.0  # seconds; operations that ended yesterday help nobody

log = Logger()


class Worker:
    def __init__(self, clock: IReactorTime, means: Means, concurrency: int, sweep: float) -> None:
        self._clock, self._means, self._concurrency, self._sweep = clock, means, concurrency, sweep
        self._loops = [(LoopingCall(self.wake), sweep), (LoopingCall(self._renew), LEASE / 3),
                       (LoopingCall(self._prune), PRUNE_EVERY)]  # fmt: skip
        if means.keyring is not None:
            self._loops.append((LoopingCall(self._renew_keys), LOOKED))
        for loop, _ in self._loops:
            loop.clock = clock
        self._under_way: dict[str, Deferred[None]] = {}
        self._tasks: set[Deferred[None]] = set()
        self._taking = self._asked_again = self._open = False
        self._soon: IDelayedCall | None = None
        self._starting: IDelayedCall | None = None

    def start(self) -> None:
        self._open = True
        self._task(self._begin())

    def stop(self) -> Deferred[None]:
        """Fires once nothing is under way; what was is taken up again by whoever comes next."""
        self._open = False
        for loop, _ in self._loops:
            if loop.running:
                loop.stop()
        for call in (self._soon, self._starting):
            if call is not None and call.active():
                call.cancel()
        ending = [*self._under_way.values(), *self._tasks]
        for deferred in ending:
            deferred.cancel()
        return DeferredList(ending, consumeErrors=True).addCallback(lambda results: None)

    def wake(self) -> None:
        """Looks for due steps; while it already looks, or all places are taken, as soon as that ends."""
        if not self._open:
            return
        free = self._concurrency - len(self._under_way)
        if self._taking or free <= 0:
            self._asked_again = True
            return
        self._taking, self._asked_again = True, False
        self._task(self._take(free))

    def wake_soon(self, delay: float = SOON) -> None:
        if not self._open:
            return
        if self._soon is not None and self._soon.active():
            if self._soon.getTime() <= self._clock.seconds() + delay:
                return
            self._soon.cancel()
        self._soon = self._clock.callLater(max(delay, SOON), self.wake)

    async def _begin(self) -> None:
        """A database that cannot answer yet is asked again: only then is it known what this conductor held before."""
        try:
            await self._means.store.transact(reclaim, self._means.owner)
        except CloudError as problem:
            log.warn("the conductor waits for the database: {problem}", problem=problem.text)
            if self._open:
                self._starting = self._clock.callLater(self._sweep, self.start)
            return
        if self._open:
            for loop, period in self._loops:
                loop.start(period)

    async def _take(self, free: int) -> None:
        try:
            steps, pause = await self._means.transact("take", take, self._means.owner, free)
        except CloudError as problem:  # the database cannot answer; the sweep comes again
            log.warn("no steps taken: {problem}", problem=problem.text)
            steps, pause = [], None
        finally:
            self._taking = False
        for step in steps:
            work = self._under_way[step.operation] = Deferred.fromCoroutine(self._perform(step))
            work.addErrback(self._broken, step).addBoth(self._ended, step)
        if self._asked_again or len(steps) == free:
            self.wake_soon()
        elif pause is not None and pause < self._sweep:
            self.wake_soon(pause)

    async def _perform(self, step: Step) -> None:
        now: Step | None = step
        while now is not None and self._open:
            step = now
            try:
                now = await STEP_FUNCTIONS[step.kind](self._means, step)
            except CancelledError:
                raise
            except Superseded:
                await self._means.transact("retry", release, step)
                return
            except Exception as problem:
                await self._means.transact("retry", after_problem(step, problem), step)
                return

    def _ended(self, nothing: None, step: Step) -> None:
        self._under_way.pop(step.operation, None)
        self.wake_soon()

    def _broken(self, failure: Failure, step: Step) -> None:
        """Not even the end could be written: the lease will expire."""
        if failure.check(CancelledError, Superseded, CloudError):
            return
        log.failure("{kind} of {subject}", failure, kind=step.kind, subject=step.subject)

    def _renew(self) -> None:
        if self._under_way:
            self._task(self._renewed(list(self._under_way)))

    async def _renewed(self, held: list[str]) -> None:
        await self._means.store.transact(renew, self._means.owner, held)

    def _renew_keys(self) -> None:
        self._task(self._keys_renewed())

    async def _keys_renewed(self) -> None:
        if await self._means.store.transact(renewed):
            self.wake()

    def _prune(self) -> None:
        self._task(self._pruned())

    async def _pruned(self) -> None:
        await self._means.store.transact(prune, PRUNE_AGE)

    def _task(self, coroutine: object) -> None:
        task: Deferred[None] = Deferred.fromCoroutine(coroutine)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.addErrback(self._failed).addBoth(lambda nothing: self._tasks.discard(task))

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError, CloudError):
            log.failure("the conductor's own work failed", failure)


def after_problem(step: Step, problem: Exception):  # type: ignore[no-untyped-def]
    """The transaction `work(books, step)` that a step's error calls for."""
    if isinstance(problem, Outdated):
        return supersede
    if isinstance(problem, GaveUp):
        return GAVE_UP.get(step.operation_kind, give_up)
    if isinstance(problem, (BusFault, CloudError)):
        log.info("{kind} of {subject}, attempt {attempt}: {problem}", kind=step.kind, subject=step.subject,
                 attempt=step.attempt, problem=f"{type(problem).__name__}: {problem}")  # fmt: skip
    else:
        log.failure("{kind} of {subject}", Failure(problem), kind=step.kind, subject=step.subject)
    return try_again


def take(books: Books, owner: str, limit: int) -> tuple[list[Step], float | None]:
    """What is due, and in how many seconds more will be: so retries come in time however rarely the sweep does."""
    return books.operations.take(owner, limit), books.operations.pause()


def reclaim(books: Books, owner: str) -> None:
    books.operations.reclaim(owner)


def renew(books: Books, owner: str, held: list[str]) -> None:
    books.operations.renew(owner, held)


def prune(books: Books, age: float) -> None:
    books.operations.prune(age)


def release(books: Books, step: Step) -> None:
    books.operations.release(step)


def supersede(books: Books, step: Step) -> None:
    books.operations.supersede(step)


def try_again(books: Books, step: Step) -> None:
    again(books, step, retry_delay(step.attempt))


def give_up(books: Books, step: Step) -> None:
    instance = books.instances.find(step.subject)
    where = f"host {instance.host}" if instance is not None and instance.host else "no host"
    text = f"{where} did not start it within {GIVES_UP[step.operation_kind]:.0f} s (host-unreachable)"
    refuse(books, step, "Server.InternalError", text)
