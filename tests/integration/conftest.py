"""A server that a module's tests share, and for each test a blog of its own on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.cast import Stage, forgetful_client
from tests.support import Server


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One server for a module, with the blog of its first start."""
    async with (
        Server(tmp_path_factory.mktemp("house")) as server,
        forgetful_client(server.url) as http,
    ):
        yield Stage(server, http)


@pytest.fixture
async def stage(house: Stage) -> Stage:
    """A blog that only this test touches."""
    return await house.another()
