"""Logging: one line per event on standard error, an event name and fields. Prompts, pictures and secrets are no fields."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

# What every record has by itself; whatever else is on a record is a field of the event.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class EventFormatter(logging.Formatter):
    """Write time, level, event name and fields as one line of logfmt."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows on its own lines."""
        at = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        fields = " ".join(f"{name}={_quoted(value)}" for name, value in vars(record).items() if name not in _STANDARD)
        line = f"{at} {record.levelname.lower():<8} {record.getMessage()} {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logging(level: str) -> None:
    """Send all events to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EventFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Access lines are the operator's proxy's business; start and stop are told by the command line itself.
    logging.getLogger("uvicorn").setLevel("WARNING")
    logging.getLogger("alembic").setLevel("WARNING")
    hush_azure()


def hush_azure() -> None:
    """Keep what Microsoft's library logs of each exchange out: what matters of it is an event of ours, or an error."""
    for name in ("azure", "msal"):
        logging.getLogger(name).setLevel("CRITICAL")


def _quoted(value: object) -> str:
    text = str(value)
    return (
        text
        if text and not set(text) & set(' "=\n\r\t')
        else '"' + text.encode("unicode_escape").decode().replace('"', '\\"') + '"'
    )
