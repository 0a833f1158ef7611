"""Hosts that do not answer, so that waiting for them takes no more than one place among the steps under way.

After a call that timed out, further calls to that host fail at once. Every PROBE seconds one is let through; an answer,
or a heartbeat, ends the silence.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from cloudcore.rpc.faults import TimedOut

PROBE = 10.0  # seconds; as long as the most patient call but one


class Silence:
    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def admit(self, host: str) -> None:
        """Raises TimedOut for a host that is silent; whoever passes is the probe."""
        until = self._until.get(host)
        if until is None:
            return
        now = self._clock.seconds()
        if now < until:
            raise TimedOut(f"{host} is silent")
        self._until[host] = now + PROBE

    def begin(self, host: str) -> None:
        self._until[host] = self._clock.seconds() + PROBE

    def end(self, host: str) -> None:
        self._until.pop(host, None)
