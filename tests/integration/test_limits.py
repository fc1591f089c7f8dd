"""A server takes as many files as it may have, and says so when there are no more."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from liveblog import limits
from tests.integration.test_cli import run
from tests.support import Server, eventually


@contextlib.contextmanager
def limited(
    soft: int, hard: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[None]:
    """What is started within has these limits of open files."""
    program = tmp_path / "python"
    program.write_text(
        f'#!/bin/sh\nulimit -Sn {soft}\nulimit -Hn {hard}\nexec {sys.executable} "$@"\n'
    )
    program.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(program))
        yield


async def test_the_soft_limit_is_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with limited(256, 3000, monkeypatch, tmp_path):
        async with Server(tmp_path) as server:
            told = Path(f"/proc/{server.pid}/limits").read_text()
            _, doctor, _ = await run("doctor", "--data-dir", str(server.data))

    (line,) = [line for line in told.splitlines() if line.startswith("Max open files")]
    assert line.split()[3:5] == ["3000", "3000"]
    assert "open files: 3,000, enough for 2,800 viewers" in doctor


async def test_when_no_file_is_left_the_log_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with limited(80, 80, monkeypatch, tmp_path):
        async with Server(tmp_path) as server, contextlib.AsyncExitStack() as stack:
            # Viewers are refused before that; who says nothing holds a file for a while.
            for _ in range(100 * server.workers):
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                    stack.callback(writer.close)

            await eventually(lambda: server.log.count('"files_exhausted"') >= server.workers, 10)

            assert server.log.count('"files_exhausted"') == server.workers
            assert '"limit":80' in server.log


async def test_viewers_leave_some_files_for_everything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with limited(limits.FILES_RESERVED + 5, limits.FILES_RESERVED + 5, monkeypatch, tmp_path):
        async with Server(tmp_path) as server, contextlib.AsyncExitStack() as stack:
            url = f"{server.websocket_url}/live/live"
            answers = await asyncio.gather(
                *(
                    stack.enter_async_context(connect(url, proxy=None))
                    for _ in range(5 * server.workers + 1)
                ),
                return_exceptions=True,
            )
            refused = [answer for answer in answers if isinstance(answer, InvalidStatus)]
            let_in = [answer for answer in answers if isinstance(answer, ClientConnection)]
            posted = await server.post("still taken")

    assert refused
    assert {each.response.status_code for each in refused} == {429}
    assert len(let_in) >= 5
    assert len(let_in) + len(refused) == len(answers)
    assert posted.status_code == 201


def test_what_is_told_is_at_least_what_there_is() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    assert limits.files() >= min(soft, limits.FILES_MOST)
    assert hard == resource.RLIM_INFINITY or limits.files() <= max(soft, hard)
