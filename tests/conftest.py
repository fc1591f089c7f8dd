"""Fixtures that every suite may ask for."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Playwright, async_playwright
from playwright.async_api import Error as PlaywrightError

from liveblog.store.embedded import EmbeddedStore
from tests.support import CHROMIUM_ARGUMENTS, Server, chromium_path, lacking

# A shell that runs us in the background has this one ignored, and what we start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    """A server of this test's own, ready; started with arguments where the test gives any."""
    async with Server(tmp_path, *getattr(request, "param", ())) as running:
        yield running


@pytest.fixture(scope="session")
async def valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of an embedded store for the whole run; each test has blogs of its own in it."""
    store = EmbeddedStore(tmp_path_factory.mktemp("valkey"))
    await store.start()
    yield store.url
    await store.stop()


@pytest.fixture(scope="session")
async def playwright() -> AsyncIterator[Playwright]:
    async with async_playwright() as started:
        yield started


@pytest.fixture(scope="session")
async def chromium(playwright: Playwright) -> AsyncIterator[Browser]:
    """One Chromium for the whole run; a test takes a context of its own from it."""
    try:
        browser = await playwright.chromium.launch(
            executable_path=chromium_path(), args=list(CHROMIUM_ARGUMENTS)
        )
    except PlaywrightError as error:
        if chromium_path() is None:
            lacking("Chromium")
        raise AssertionError("Chromium is there and doesn't start") from error
    yield browser
    await browser.close()


@pytest.fixture
async def context(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """A profile of its own: cookies, storage and offline state are this test's."""
    context = await chromium.new_context()
    yield context
    await context.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Leave the counts where `make test` sums them up, JavaScript's tests among them."""
    path = os.environ.get("TEST_COUNTS_FILE")
    if path is None:
        return
    sums = {
        "passed": ("passed", "xfailed", "subtests passed"),
        "failed": ("failed", "error", "xpassed", "subtests failed"),
        "skipped": ("skipped", "deselected", "subtests skipped"),
    }
    counts = {
        word: sum(len(terminalreporter.stats.get(category, [])) for category in categories)
        for word, categories in sums.items()
    }
    Path(path).write_text(json.dumps(counts))
