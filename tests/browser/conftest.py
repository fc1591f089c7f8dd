"""Fixtures of the tests that read and write as people do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from tests.browser.pages import BROKEN, PHONE, Opened


@pytest.fixture
async def opened(chromium: Browser) -> AsyncIterator[Opened]:
    """Open a page in a profile of its own; whatever goes wrong in a page fails its test."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    async def open_page(address: str, *, cookie: str | None = None, **options: Any) -> Page:
        context = await chromium.new_context(**{"viewport": PHONE, **options})
        contexts.append(context)
        if cookie:
            origin = "/".join(address.split("/")[:3])
            named = {"name": "liveblog_session", "value": cookie, "url": origin}
            await context.add_cookies([named])  # type: ignore[list-item]
        page = await context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "console",
            lambda said: (
                wrong.append(said.text)
                if said.type == "error" and not BROKEN.search(said.text)
                else None
            ),
        )
        await page.goto(address)
        return page

    yield open_page
    for context in contexts:
        await context.close()
    assert not wrong
