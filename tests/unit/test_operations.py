"""Numbers are added up over processes, whatever release each is of."""

from __future__ import annotations

from types import SimpleNamespace

from starlette.requests import Request

from liveblog.web.operations import Counted, metrics


async def test_a_number_that_a_later_release_counts_is_shown_too() -> None:
    async def everybodys() -> Counted:
        ours = Counted({"liveblog_viewers": 2}, {"liveblog_frames": 5})
        return ours.later(Counted({"liveblog_viewers": 1}, {"liveblog_things_to_come": 3}))

    state = SimpleNamespace(numbers=SimpleNamespace(everybodys=everybodys))
    text = (await metrics(Request({"type": "http", "app": SimpleNamespace(state=state)}))).body

    assert b"\nliveblog_viewers 3.0\n" in text
    assert b"\nliveblog_frames_total 5.0\n" in text
    assert b"\nliveblog_things_to_come_total 3.0\n" in text
