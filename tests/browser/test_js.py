"""Runs tests/js in Chromium: each `*.test.js` is a module that registers tests with harness.js."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import msgspec
import pytest
from playwright.async_api import BrowserContext, Route
from playwright.async_api import TimeoutError as PlaywrightTimeout

from tests.support import ROOT

# A secure context (as an https page is) without a server: every request is answered from the tree.
ORIGIN = "http://localhost"
# The icon keeps a browser from asking for one.
BLANK = '<!doctype html><link rel="icon" href="data:,">'
SUITES = sorted((ROOT / "tests" / "js").glob("*.test.js"))
TYPES = {
    ".js": "text/javascript",
    ".json": "application/json",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".html": "text/html",
}


class Result(TypedDict):
    """What harness.js says of one test."""

    name: str
    ok: bool
    error: str | None


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.name)
async def test_javascript(suite: Path, context: BrowserContext, subtests: pytest.Subtests) -> None:
    results, complaints = await run(suite, context)

    for result in results:
        with subtests.test(msg=result["name"]):
            assert result["ok"], result.get("error") or "no reason given"
    assert results, f"{suite.name} registered no test: {complaints}"
    assert not complaints


async def test_a_failing_javascript_test_is_seen(context: BrowserContext, tmp_path: Path) -> None:
    suite = ROOT / "tests" / "js" / "control.test.js"
    source = (
        'import { test } from "/tests/js/harness.js";\n'
        'test("passes", () => {});\n'
        'test("throws", () => { throw new Error("as it should"); });\n'
        'test("rejects", async () => { throw new Error("later"); });\n'
    )

    results, _ = await run(suite, context, source)

    assert [(result["name"], result["ok"]) for result in results] == [
        ("passes", True),
        ("throws", False),
        ("rejects", False),
    ]
    assert "as it should" in (results[1]["error"] or "")


async def run(
    suite: Path, context: BrowserContext, source: str | None = None
) -> tuple[list[Result], list[str]]:
    """The results of a suite, and every error that nobody caught, broken imports among them.

    `source` stands in for the file's own text.
    """
    address = f"/{suite.relative_to(ROOT).as_posix()}"

    async def answer(route: Route) -> None:
        path = route.request.url.removeprefix(ORIGIN).partition("?")[0]
        if path == "/":
            html = f'{BLANK}<script type="module" src="{address}"></script>'
            await route.fulfill(body=html, content_type="text/html")
        elif path == address and source is not None:
            await route.fulfill(body=source, content_type="text/javascript")
        elif (file := ROOT / path[1:]).is_file():
            await route.fulfill(path=file, content_type=TYPES.get(file.suffix, "text/plain"))
        else:
            await route.fulfill(status=404, body="")
            complaints.append(f"{path} isn't there")

    complaints: list[str] = []
    page = await context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"{request.url} failed"))
    await page.route(f"{ORIGIN}/**", answer)
    await page.goto(f"{ORIGIN}/")
    try:
        await page.wait_for_function("window.results !== undefined", timeout=10_000)
    except PlaywrightTimeout as error:
        raise AssertionError(f"{suite.name} left no results: {complaints}") from error
    results = await page.evaluate("Promise.resolve(window.results)")
    return msgspec.convert(results, list[Result]), complaints
