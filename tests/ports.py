"""Free ports of 127.0.0.1, for servers that must be told theirs.

They lie below those that the kernel gives to outgoing connections, so that none of these takes one between our look and
the server's own bind, and each worker of a parallel run draws from its own.
"""

from __future__ import annotations

import os
import random
import socket

FIRST, BEYOND, WORKERS = 20_000, 32_000, 16
_given: set[int] = set()


def free_port() -> int:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    chance = random.SystemRandom()
    while (port := chance.randrange(FIRST + worker, BEYOND, WORKERS)) in _given or not is_free(port):
        pass
    _given.add(port)
    return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
