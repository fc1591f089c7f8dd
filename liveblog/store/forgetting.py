"""Words that were taken back leave the embedded store's file as well, soon after."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import structlog

from liveblog.domain.errors import Unavailable
from liveblog.store import disk
from liveblog.store.connection import Connection

# Those that are taken back together cost one rewriting.
GATHER_SECONDS = 10.0
REWRITE_EVERY_SECONDS = 300.0
LONGEST_PAUSE_SECONDS = 3600.0
REWRITE_MOST_SECONDS = 60.0
POLL_SECONDS = 0.1

_log = structlog.get_logger()


class Forgetting:
    """Has the store rewrite its file after a retraction: until then, the words are still in it.

    Once after each start too, for what was taken back shortly before the last stop.
    """

    def __init__(self, connection: Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder
        self._wanted = asyncio.Event()
        self._wanted.set()

    def want(self) -> None:
        """Something was taken back."""
        self._wanted.set()

    async def keep_forgetting(self) -> None:
        """Rewrites whenever it is wanted, in turns that lie apart; until cancelled."""
        pause = REWRITE_EVERY_SECONDS
        while True:
            await self._wanted.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._wanted.clear()
            try:
                why_not = await self._rewrite()
            except Unavailable as error:
                why_not = error.reason
            except TimeoutError:
                why_not = "it takes too long"
            if why_not:
                _log.warning("store_not_rewritten", reason=why_not)
                self._wanted.set()
            await asyncio.sleep(pause)
            # What failed needs somebody; until they come it isn't tried all the time.
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS) if why_not else REWRITE_EVERY_SECONDS

    async def _rewrite(self) -> str:
        """Why it wasn't rewritten; nothing if it was."""
        [setting] = await self._connection.each(
            lambda redis: redis.config_get("auto-aof-rewrite-percentage")
        )
        if setting.get("auto-aof-rewrite-percentage") == "0":
            return "rewriting is switched off, as for a backup"
        if not disk.has_room(self._folder, disk.size(self._folder / "appendonlydir")):
            return "the disk has no room for a second copy of what is stored"
        await self._connection.each(lambda redis: redis.bgrewriteaof())
        async with asyncio.timeout(REWRITE_MOST_SECONDS):
            while True:
                await asyncio.sleep(POLL_SECONDS)
                info: dict[str, Any]
                [info] = await self._connection.each(lambda redis: redis.info("persistence"))
                if not (info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"]):
                    break
        return "" if info["aof_last_bgrewrite_status"] == "ok" else "the store failed at it"
