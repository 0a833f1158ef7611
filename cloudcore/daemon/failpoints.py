"""Where a crash test may kill a daemon: every service calls `failpoint(name)` at its effects; here the call gets teeth.

`CLOUDCORE_FAILPOINT=conductor.place.before` ends this process with SIGKILL when that point is reached for the first time
(`...:3`: for the third). Without the variable a failpoint is a function that does nothing.
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
    wanted, _, count = environment.get(VARIABLE, "").partition(":")
    if not wanted:
        return nothing
    left = [int(count or 1)]

    def kill(name: str) -> None:
        if name == wanted:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    return kill
