"""Where a crash test may kill a daemon: every service calls `failpoint(name)` at its effects; here the call gets teeth.

`CLOUDCORE_FAILPOINT=FILE` ends this process with SIGKILL when it reaches the point whose name is the content of FILE.
No file, no name, no end: a test writes it once the cloud has come up. Without the variable a failpoint is a function
that does nothing, and no file is ever looked at.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping

Failpoint = Callable[[str], None]
VARIABLE = "CLOUDCORE_FAILPOINT"


def nothing(name: str) -> None:
    """The failpoint of every day."""


def from_environment(environment: Mapping[str, str]) -> Failpoint:
    path = environment.get(VARIABLE)
    if not path:
        return nothing

    def kill(name: str) -> None:
        try:
            with open(path, encoding="ascii") as armed:
                wanted = armed.read()
        except FileNotFoundError:
            return
        if name == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    return kill
