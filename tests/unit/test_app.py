"""What runs beside the requests goes on, whatever one round of it ran into."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from liveblog import app
from tests.support import eventually


async def test_work_that_breaks_is_begun_again_and_ends_with_the_site(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "AGAIN_SECONDS", 0.01)
    begun = 0
    ended = asyncio.Event()

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise KeyError(begun)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with AsyncExitStack() as stack:
        app._keep_running(stack, work, "work")
        await eventually(lambda: begun == 3)
        assert not ended.is_set()

    assert ended.is_set()
