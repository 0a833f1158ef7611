"""PID 1 of a private libvirtd's PID namespace: keeps the given command running and reaps every orphan at once.

libvirt ends a daemonised QEMU by asking kill(pid, 0) until it is gone, and a zombie still answers; where PID 1 reaps
lazily, each destroy and each capability probe waits for it. A command that dies is started again, guests untouched;
killing this process ends the namespace and every guest in it.
"""

import os
import sys
import time

PAUSE = 0.5  # seconds between death and restart, long enough for a client to notice


def start(command: list[str]) -> int:
    return os.spawnvp(os.P_NOWAIT, command[0], command)  # noqa: S606


def keep(command: list[str]) -> None:
    child = start(command)
    while True:
        pid, _ = os.wait()
        if pid == child:
            time.sleep(PAUSE)
            child = start(command)


if __name__ == "__main__":
    keep(sys.argv[1:])
