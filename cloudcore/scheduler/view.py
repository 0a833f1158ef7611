"""What the scheduler knows of the hosts: rows read from the database, heartbeats heard, and promises made a moment ago.

Many questions are asked in the same instant of the same view, and would all get the same best host. So a proposal
counts as a promise: it lowers the host's rank for the next question until the view has read a row with that claim in it
(each claim moves the row's generation by one), or until it is too old to be true.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from cloudcore.domain.placement import NOTHING, UNREACHABLE_AFTER, Demand, Host, Question, judge, ranked

PROMISE_LASTS = 2.0  # seconds: a claim follows its proposal within milliseconds, or was lost


class View:
    """Times are seconds of the scheduler's own monotonic clock."""

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        self.revision = 0
        self._heard: dict[str, float] = {}
        self._promises: dict[str, deque[tuple[float, Demand]]] = {}

    def read(self, database_now: float, rows: Iterable[Host], now: float) -> None:
        """Rows that changed. A host never heard here counts as heard when the database last saw it."""
        for row in rows:
            before = self.hosts.get(row.name)
            self._kept(row.name, row.generation - before.generation if before else 0)
            self.hosts[row.name] = row
            self.revision = max(self.revision, row.revision)
            seen = now - max(0.0, database_now - row.seen)
            self._heard[row.name] = max(self._heard.get(row.name, seen), seen)

    def forget_all_but(self, names: set[str]) -> None:
        """After a complete reading: hosts whose rows are gone."""
        for name in self.hosts.keys() - names:
            del self.hosts[name], self._heard[name]
            self._promises.pop(name, None)

    def heard(self, name: str, now: float) -> bool:
        """Notes a heartbeat; False when the host has no row here yet."""
        if name not in self.hosts:
            return False
        self._heard[name] = now
        return True

    def expects_more(self, now: float) -> bool:
        """No host is known at all, or one that is known is silent."""
        return not self.hosts or any(now - heard > UNREACHABLE_AFTER for heard in self._heard.values())

    def select(self, question: Question, count: int, now: float) -> tuple[list[Host], tuple[str, ...]]:
        """(best hosts first, why others were removed). `question.silent` is filled in here."""
        silent = {name: now - heard for name, heard in self._heard.items()}
        asked = Question(question.demand, question.seed, question.zone, question.not_hosts, silent)
        fitting, lines = judge(self.hosts.values(), asked)
        best = ranked(fitting, asked, self._promised(now))[:count]
        if best:
            self._promises.setdefault(best[0].name, deque()).append((now, question.demand))
        return best, lines

    def _promised(self, now: float) -> dict[str, Demand]:
        total: dict[str, Demand] = {}
        for name, given in self._promises.items():
            while given and given[0][0] < now - PROMISE_LASTS:
                given.popleft()
            if given:
                total[name] = sum((demand for _, demand in given), NOTHING)
        return total

    def _kept(self, name: str, claims: int) -> None:
        given = self._promises.get(name)
        for _ in range(min(claims, len(given)) if given else 0):
            given.popleft()  # type: ignore[union-attr]  # not None: the range is empty then
