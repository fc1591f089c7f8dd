"""Structured logs: one JSON object a line on standard error; nothing in it can forge a line."""

from __future__ import annotations

import logging
import re
import sys

import orjson
import structlog

# JSON may leave them as they are, but terminals obey some, and others end a line or turn it around.
_BARE = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def configure(level: str) -> None:
    """Send our events and the libraries' messages to standard error, from `level` on."""
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_line)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.processors.JSONRenderer(serializer=_line),
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # The libraries' own chatter is about what our events say already.
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))


def _line(event: object, **_: object) -> str:
    return _BARE.sub(
        lambda found: f"\\u{ord(found[0]):04x}", orjson.dumps(event, default=repr).decode()
    )
