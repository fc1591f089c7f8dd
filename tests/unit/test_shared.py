"""Who asks at the same time shares what was begun after they asked."""

from __future__ import annotations

import asyncio

import pytest

from liveblog.store.shared import Shared
from tests.support import eventually


class Work:
    """Counts how often it was begun; gives that number once it may."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        await self.may_end.wait()
        return number


async def test_those_who_ask_during_a_run_share_the_next_one() -> None:
    work = Work()
    shared = Shared(work)
    asking = [asyncio.create_task(shared()) for _ in range(3)]
    await eventually(lambda: work.begun == 1)
    work.may_end.set()

    assert await asyncio.gather(*asking) == [1, 2, 2]


async def test_who_waited_for_a_run_that_was_broken_off_gets_one_of_their_own() -> None:
    work = Work()
    shared = Shared(work)
    first = asyncio.create_task(shared())
    await eventually(lambda: work.begun == 1)
    waiting = [asyncio.create_task(shared()) for _ in range(2)]
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    work.may_end.set()

    assert await asyncio.gather(*waiting) == [2, 2]
