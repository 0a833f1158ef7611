"""A connection of an HTTP server that may face anybody. twisted.web bounds neither how many there are nor how long the
head of a request may dribble; and a folded header could mean one thing here and another to a proxy (S29, S33).

The factory keeps its channels in `channels` (a dict, the oldest first), and says in `connections` how many it bears:
beyond that the oldest one that is not being served goes.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

HEAD_WITHIN = 10.0  # seconds from the first byte of a head to its end


class BoundedChannel(http.HTTPChannel):
    transport: Any
    _begun = False  # a head, of which the end is still to come
    _there: Any = None
    _here: Any = None
    _late: Any = None  # the call that ends a head that takes too long

    def connectionMade(self) -> None:
        channels = self.factory.channels
        channels[self] = None
        super().connectionMade()
        if len(channels) > self.factory.connections:
            next((channel for channel in channels if not channel.busy), self).abort()

    def getPeer(self) -> Any:
        """Asked for by each request, and never another on one connection: the kernel is asked once."""
        if self._there is None:
            self._there = super().getPeer()
        return self._there

    def getHost(self) -> Any:
        if self._here is None:
            self._here = super().getHost()
        return self._here

    @property
    def busy(self) -> bool:
        """With the answer to a whole request."""
        return bool(self._handlingRequest)

    def abort(self) -> None:
        self.factory.channels.pop(self, None)
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self._begun = self._begun or bool(self.line_mode)
        super().dataReceived(data)
        if self._begun and self._late is None and self in self.factory.channels:
            self._late = self.callLater(HEAD_WITHIN, self.abort)

    def lineReceived(self, line: bytes) -> None:
        if line[:1] in (b" ", b"\t"):
            self._respondToBadRequestAndDisconnect()
        else:
            super().lineReceived(line)

    def allHeadersReceived(self) -> None:
        self._headed()
        super().allHeadersReceived()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.channels.pop(self, None)
        self._headed()
        super().connectionLost(reason)

    def _headed(self) -> None:
        late, self._late, self._begun = self._late, None, False
        if late is not None and late.active():
            late.cancel()
