"""Work that those share who ask for it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from liveblog.domain.errors import Unavailable
from liveblog.store.trouble import StoreRefused

_T = TypeVar("_T")


class Shared(Generic[_T]):
    """What `work` gives, from a run that began after it was asked for."""

    def __init__(self, work: Callable[[], Awaitable[_T]]) -> None:
        self._work = work
        self._begun = 0
        self._ended = 0
        self._running = asyncio.Lock()
        self._given: _T
        self._error: StoreRefused | Unavailable | None = None

    async def __call__(self) -> _T:
        asked = self._begun
        async with self._running:
            # One that was broken off has given nothing: whoever waited for it begins another.
            if self._ended <= asked:
                self._begun += 1
                try:
                    self._given = await self._work()
                    self._error = None
                except (StoreRefused, Unavailable) as error:
                    self._error = error
                self._ended = self._begun
            if self._error is not None:
                raise self._error
            return self._given
