"""What every bus asks of a topic and a body."""

from __future__ import annotations

import re

from cloudcore.rpc.faults import TooLarge

TOPIC = re.compile(r"[A-Za-z0-9._-]{1,200}", re.ASCII)  # without AMQP's wildcards, below its 255 bytes


def check(topic: str, body: bytes = b"", limit: int = 0) -> str:
    """The topic itself. Raises ValueError (a mistake in the program), TooLarge."""
    if not TOPIC.fullmatch(topic):
        raise ValueError(f"{topic!r} is no topic")
    if len(body) > limit:
        raise TooLarge(f"{topic}: {len(body)} bytes, and the limit is {limit}")
    return topic
