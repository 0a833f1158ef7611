"""One JSON object a line, for journald, `cloudcore logs` and people with jq. For twistd it is
`--logger=cloudcore.daemon.json_log.observer`.

Fields: ts, level, ns (who), msg, error (a traceback) and the event's own. Twisted's own JSON observer writes flattened
formats, logger UUIDs and "unpersistable" markers; this writes what a reader needs. Twisted's HTTP access log is left
out: it carries presigned query strings, which are secrets while they live.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from zope.interface import implementer

LEVELS = {
    "DEBUG": LogLevel.debug,
    "INFO": LogLevel.info,
    "WARNING": LogLevel.warn,
    "ERROR": LogLevel.error,
    "CRITICAL": LogLevel.critical,
}
OLD_STYLE = {"message", "time", "system", "format", "isError", "failure", "why", "logLevel", "log_text", "printed"}
LIMIT = 8192  # bytes of one line (S31)
QUIET = ("twisted.web.http", "twisted.web.server.Site", "twisted.web.client")  # access log, factory start and stop


@implementer(ILogObserver)
class JsonLines:
    """`least` is the least severe level that is written."""

    def __init__(self, out: TextIO, least: LogLevel = LogLevel.info) -> None:
        self._out, self._least = out, least

    def __call__(self, event: LogEvent) -> None:
        level = event.get("log_level") or LogLevel.info
        if level < self._least or (level < LogLevel.warn and str(event.get("log_namespace")).startswith(QUIET)):
            return
        try:
            line = json.dumps(self._entry(event), default=repr, ensure_ascii=False)
        except Exception as problem:  # an observer that raises is silently removed from service
            line = json.dumps({"level": "error", "msg": f"unloggable event: {problem!r}"})
        self._out.write(line[:LIMIT] + "\n")
        self._out.flush()

    def _entry(self, event: LogEvent) -> dict[str, Any]:
        failure = event.get("log_failure")
        entry = {
            "ts": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
            "level": event["log_level"].name,
            "ns": event.get("log_namespace"),
            "msg": formatEvent(event),
            "error": failure.getTraceback() if failure else None,
        }
        entry |= {key: value for key, value in event.items() if not key.startswith("log_") and key not in OLD_STYLE}
        return {key: value for key, value in entry.items() if value is not None}


class FromStandardLogging(logging.Handler):
    """SQLAlchemy, alembic and botocore speak to `logging`; Twisted's STDLibLogObserver is the other direction."""

    def emit(self, record: logging.LogRecord) -> None:
        Logger(record.name).emit(LEVELS.get(record.levelname, LogLevel.info), "{text}", text=record.getMessage())


def observer(out: TextIO | None = None) -> JsonLines:
    root = logging.getLogger()
    root.addHandler(FromStandardLogging())
    root.setLevel(logging.WARNING)
    return JsonLines(out or sys.stdout)
