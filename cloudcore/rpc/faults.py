"""What can go wrong between two services, apart from the answer itself being a refusal (that is a CloudError).

A caller needs one distinction above all: was the command surely not executed (`NobodyListens`, `TooLarge`), or is its
outcome unknown (`TimedOut`, `Disconnected`)? Commands are idempotent, so both may be repeated; only the first may be
sent elsewhere instead.
"""

from __future__ import annotations


class BusFault(Exception):
    """The command did not come back with an answer of the service."""


class NobodyListens(BusFault):
    """No service serves the topic: the command was not executed."""


class TooLarge(BusFault):
    """The message exceeds the bus's limit: it was not sent."""


class TimedOut(BusFault):
    """No answer within the caller's time; the command may have been executed, or may yet be within its deadline."""


class Disconnected(TimedOut):
    """The connection to the broker broke, or the bus stopped, while the answer was awaited; the outcome is unknown."""


class PastDeadline(BusFault):
    """Raised by a handler for a message that outlived its caller: the bus drops it without an answer."""


class Malformed(BusFault):
    """A body that does not fit its declaration; the text names the field, never its content."""


class NotServed(BusFault):
    """The service answers another major version, or is too old to know the method."""


class InternalFault(BusFault):
    """The other side failed in a way its contract does not declare. `reference` stands in the logs of both sides."""

    def __init__(self, reference: str) -> None:
        super().__init__(f"internal fault {reference}")
        self.reference = reference
