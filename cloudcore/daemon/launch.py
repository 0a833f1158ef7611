"""`cloudcore-api …` is `twistd --nodaemon --pidfile= --logger=… cloudcore-api …`: for bin/ and for service units."""

from __future__ import annotations

import sys

from twisted.scripts.twistd import run


def main(daemon: str) -> None:
    sys.argv[1:1] = ["--nodaemon", "--pidfile=", "--logger=cloudcore.daemon.json_log.observer", daemon]
    run()
