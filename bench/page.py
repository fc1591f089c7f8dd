"""What the feed weighs on the wire, and how soon it is seen on a slow network."""

from __future__ import annotations

import gzip
import http.client
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from bench.programs import BenchError
from bench.server import HOST

_TAG = re.compile(r"<(link|script)\b([^>]*)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([\w-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>]+))")
_JS_IMPORT = re.compile(r"""(?:\bfrom|\bimport)\s*\(?\s*["']([^"']+)["']""")
_CSS_IMPORT = re.compile(r"""@import\s+(?:url\()?\s*["']?([^"')\s;]+)""")
_FILES_MOST = 100

# "Slow 4G" as Lighthouse simulates it: 1.6 Mbit/s down, 750 kbit/s up, 150 ms there and back.
SLOW_4G = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1_600_000 / 8,
    "uploadThroughput": 750_000 / 8,
}

# The system's Chromium; where there is none, Playwright's own may be there.
_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_CHROMIUM_ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update --disable-sync"
).split()


@dataclass(frozen=True, slots=True)
class Weight:
    """Bytes after gzip. `server_compresses` says whether the server did it or we had to."""

    html: int
    css: int
    js: int
    files: int
    server_compresses: bool

    @property
    def total(self) -> int:
        return self.html + self.css + self.js


@dataclass(frozen=True, slots=True)
class _File:
    text: str
    gzipped: int
    compressed_by_server: bool


def _fetch(port: int, path: str) -> _File:
    client = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        client.request("GET", path, headers={"Accept-Encoding": "gzip", "Accept": "text/html,*/*"})
        response = client.getresponse()
        body = response.read()
    finally:
        client.close()
    if response.status != http.HTTPStatus.OK:
        raise BenchError(f"GET {path}: {response.status}")
    if response.getheader("Content-Encoding") == "gzip":
        return _File(gzip.decompress(body).decode(), len(body), True)
    return _File(body.decode(), len(gzip.compress(body, 6)), False)


def _named_by(html: str) -> Iterator[str]:
    for tag, attributes in _TAG.findall(html):
        values = {
            name.lower(): double or single or bare
            for name, double, single, bare in _ATTRIBUTE.findall(attributes)
        }
        if tag.lower() == "script" and "src" in values:
            yield values["src"]
        elif values.get("rel") in {"stylesheet", "modulepreload"} and "href" in values:
            yield values["href"]


def weigh(port: int, path: str) -> Weight:
    """The page, its style sheets and its scripts with all that they import, each fetched once.

    Raises: BenchError.
    """
    page = _fetch(port, path)
    sizes = {"css": 0, "js": 0}
    wanted = [urljoin(path, name) for name in _named_by(page.text)]
    seen = set(wanted)
    all_compressed = page.compressed_by_server
    while wanted:
        address = wanted.pop()
        file = _fetch(port, address)
        all_compressed &= file.compressed_by_server
        kind = "css" if urlsplit(address).path.endswith(".css") else "js"
        sizes[kind] += file.gzipped
        found = (_CSS_IMPORT if kind == "css" else _JS_IMPORT).findall(file.text)
        for name in found:
            target = urljoin(address, name)
            if target not in seen and len(seen) < _FILES_MOST:
                seen.add(target)
                wanted.append(target)
    return Weight(
        html=page.gzipped,
        css=sizes["css"],
        js=sizes["js"],
        files=len(seen),
        server_compresses=all_compressed,
    )


def first_paints(port: int, path: str, rounds: int) -> list[float]:
    """Milliseconds to the first contentful paint, each time with nothing cached.

    Raises: BenchError, where there is no Chromium to look with.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise BenchError("playwright is not installed") from error
    paints: list[float] = []
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=next(filter(None, map(shutil.which, _CHROMIUM_NAMES)), None),
                args=_CHROMIUM_ARGUMENTS,
            )
        except Error as error:
            raise BenchError(f"no Chromium: {error.message.splitlines()[0]}") from error
        try:
            # The first page of a fresh browser pays for the browser's own start: it isn't counted.
            for number in range(rounds + 1):
                context = browser.new_context(viewport={"width": 390, "height": 844})
                page = context.new_page()
                session = context.new_cdp_session(page)
                session.send("Network.enable")
                session.send("Network.emulateNetworkConditions", SLOW_4G)
                page.goto(f"http://{HOST}:{port}{path}", wait_until="load", timeout=30_000)
                painted = page.evaluate(
                    """() => new Promise((resolve) => {
                        setTimeout(() => resolve(-1), 10000);
                        new PerformanceObserver((list) => {
                            for (const entry of list.getEntries())
                                if (entry.name === "first-contentful-paint")
                                    resolve(entry.startTime);
                        }).observe({ type: "paint", buffered: true });
                    })"""
                )
                context.close()
                if float(painted) < 0:
                    raise BenchError("nothing was painted within 10 s")
                if number:
                    paints.append(float(painted))
        finally:
            browser.close()
    return paints
