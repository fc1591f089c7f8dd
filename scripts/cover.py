"""Draws static/cover.png, the picture that goes with a shared link, with the pages' own tokens."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

# Run as a file, only its own folder is on the path.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.async_api import async_playwright

from tests.support import CHROMIUM_ARGUMENTS, ROOT, chromium_path

STATIC = ROOT / "static"
DRAWING = """<!doctype html><meta charset="utf-8"><style>%s
  body { position: relative; margin: 0; width: 1200px; height: 630px; overflow: hidden;
         background: var(--paper); color: var(--ink); }
  .scotch { position: absolute; inset: 56px 72px auto; height: 10px; border-top: 7px solid;
            border-bottom: 2px solid; }
  .thread { position: absolute; left: 122px; top: 178px; bottom: 0; width: 8px;
            background: var(--spot); }
  .ring { position: absolute; left: 84px; top: 136px; width: 68px; height: 68px;
          border: 8px solid var(--spot); border-radius: 50%%; background: var(--paper); }
  .ring::after { content: ""; position: absolute; inset: 19px; border-radius: 50%%;
                 background: var(--spot); }
  .knot { position: absolute; left: 112px; width: 28px; height: 28px; border-radius: 50%%;
          background: var(--spot); outline: 12px solid var(--paper); }
  h1 { position: absolute; left: 212px; top: 112px; margin: 0;
       font: 700 118px/1 var(--serif); letter-spacing: -.035em; }
  p { position: absolute; left: 212px; margin: 0; font: 400 46px/1.25 var(--serif); }
  .soft { color: var(--soft); font-family: var(--sans); font-size: 38px; }
</style>
<div class="scotch"></div><div class="thread"></div><div class="ring"></div>
<h1>Live, as it<br>happens.</h1>
<i class="knot" style="top: 428px"></i><p style="top: 414px">Posted from a phone in the hall,</p>
<i class="knot" style="top: 520px"></i>
<p class="soft" style="top: 510px">read everywhere a moment later.</p>
"""


async def main() -> None:
    tokens = (STATIC / "css" / "tokens.css").read_text("utf-8")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium_path(), args=list(CHROMIUM_ARGUMENTS)
        )
        page = await browser.new_page(viewport={"width": 1200, "height": 630})
        await page.set_content(DRAWING % tokens)
        await page.screenshot(path=STATIC / "cover.png")
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
