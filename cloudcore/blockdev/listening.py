"""ADDRESS PORT PROGRAM ARGUMENT…: becomes the program, with a listening socket handed to it as systemd would.

So its connections send at once, as the listening socket says. Left to itself the qemu-nbd of QEMU 7.2 waits with the
second half of small answers over TLS for an acknowledgement of the first, 40 ms each time: a copy of a blank GiB asks a
thousand times what is blank, and takes most of a minute.
"""

import os
import socket
import sys

HANDED = 3  # the first descriptor after the standard ones: sd_listen_fds(3)
WAITING = 16


def listen(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.create_server((address, port), family=family, backlog=WAITING)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    descriptor = listening.detach()
    if descriptor != HANDED:
        os.dup2(descriptor, HANDED)
    os.set_inheritable(HANDED, True)


if __name__ == "__main__":
    listen(sys.argv[1], int(sys.argv[2]))
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606
