"""How many files the process may open, which bounds its viewers; and when there are no more."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from contextlib import suppress

import structlog

# Where the system names no limit; a store that is started with more would reserve memory for it.
FILES_MOST = 1 << 20
FILES_RESERVED = 200
CHECK_SECONDS = 1.0
SAY_AGAIN_SECONDS = 60.0

_log = structlog.get_logger()


def files() -> int:
    """How many a server has that was started here: the soft limit is raised to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    most = FILES_MOST if hard == unlimited else min(hard, FILES_MOST)
    return most if soft == unlimited else max(soft, most)


def viewers() -> int:
    """How many viewers the files are enough for, with some left for everything else."""
    return max(1, files() - FILES_RESERVED)


def raise_files() -> None:
    """Take as many as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS names no limit and takes no such number.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (files(), hard))


async def keep_watching() -> None:
    """Says it in the log when no file can be opened any more; until cancelled.

    Nobody else does: libuv takes such connections and closes them again without a word.
    """
    said_at = float("-inf")
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        if loop.time() - said_at > SAY_AGAIN_SECONDS and not _can_open():
            said_at = loop.time()
            _log.error("files_exhausted", limit=files(), remedy="raise ulimit -n or LimitNOFILE")


def _can_open() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE)
    return True
