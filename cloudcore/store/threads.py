"""Threads over one bounded queue: where works wait in Python, so that a deadline sees them and a bound refuses them.

SQLite's busy handler and a pool's check-out are queues as well, but nobody can look into those.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Condition, Thread
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from cloudcore.errors import CloudError, Code


class Job:
    """One work that waits for a thread."""

    __slots__ = ("args", "deadline", "done", "kwargs", "perform", "work")

    def __init__(self, perform: Perform, work: Callable[..., Any], args: Any, kwargs: Any, deadline: float) -> None:
        self.perform, self.work, self.args, self.kwargs, self.deadline = perform, work, args, kwargs, deadline
        self.done: Deferred[Any] | None = Deferred(self._cancelled)

    def _cancelled(self, done: Deferred[Any]) -> None:
        self.done = None


Outcome = tuple[Job, Any]  # the value, or a Failure
Perform = Callable[[list[Job]], list[Outcome]]


class QueueLimits(Protocol):
    @property
    def waiting(self) -> int: ...
    @property
    def patience(self) -> float: ...


class Crew:
    """`together` jobs at most are handed to a thread at once. Answers come in the reactor's thread."""

    def __init__(self, reactor: Any, name: str, limits: QueueLimits, together: int = 1, threads: int = 1) -> None:
        self._reactor, self._name, self._limits = reactor, name, limits
        self._together, self._number = together, threads
        self._waiting: deque[Job] = deque()
        self._changed = Condition()
        self._open = False
        self._threads: list[Thread] = []

    def start(self) -> None:
        self._open = True
        for number in range(self._number):
            thread = Thread(target=self._work, name=f"{self._name}-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Waits for what is under way: the database's own time-outs bound that."""
        with self._changed:
            self._open = False
            refused = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._answer([(job, refusal("the database is being closed")) for job in refused])

    def submit(self, perform: Perform, work: Callable[..., Any], args: Any, kwargs: Any) -> Deferred[Any]:
        job = Job(perform, work, args, kwargs, self._reactor.seconds() + self._limits.patience)
        with self._changed:
            if not self._open:
                return fail(refusal("the database is not open"))
            if len(self._waiting) >= self._limits.waiting:
                return fail(refusal(f"{len(self._waiting)} transactions wait for the database already"))
            self._waiting.append(job)
            self._changed.notify()
        assert job.done is not None  # noqa: S101  # nobody has it yet
        return job.done

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and self._open:
                    self._changed.wait()
                if not self._waiting:
                    return
                first = self._waiting.popleft()
                jobs = [first]
                while self._waiting and len(jobs) < self._together and self._waiting[0].perform == first.perform:
                    jobs.append(self._waiting.popleft())
            self._reactor.callFromThread(self._answer, self._performed(jobs))

    def _performed(self, jobs: list[Job]) -> list[Outcome]:
        now = self._reactor.seconds()
        late = [(job, refusal("the database was too busy")) for job in jobs if job.deadline < now]
        ready = [job for job in jobs if job.deadline >= now and job.done is not None]
        return late + (ready[0].perform(ready) if ready else [])

    def _answer(self, outcomes: list[Outcome]) -> None:
        for job, result in outcomes:
            done, job.done = job.done, None
            if done is not None:
                done.callback(result)  # a Failure starts the errbacks


def refusal(text: str) -> Failure:
    return Failure(CloudError(Code.UNAVAILABLE, text))
