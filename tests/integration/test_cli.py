"""The command line does what its help says, and tells who mistypes what to do instead."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pty
import re
import signal
import socket
import stat
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import structlog
from click.testing import CliRunner
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from liveblog import __version__
from liveblog.cli import main
from tests.integration.cast import NOBODY, Stage, forgetful_client
from tests.support import (
    ROOT,
    RedisServer,
    Server,
    clean_environment,
    eventually,
    free_port,
)
from tests.worlds import meddling

COMMANDS = ("serve", "invite", "post", "tail", "doctor")


async def begun(
    *arguments: str, env: Mapping[str, str | None] = {}, stdin: bytes = b"", stdout: int = PIPE
) -> Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "liveblog", *arguments,
        cwd=ROOT, env=clean_environment(env), stdin=PIPE, stdout=stdout, stderr=PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(stdin)
        await process.stdin.drain()
    process.stdin.close()
    return process


async def run(
    *arguments: str, env: Mapping[str, str | None] = {}, stdin: bytes = b""
) -> tuple[int, str, str]:
    """A command's exit code, and what it wrote to its two outputs."""
    process = await begun(*arguments, env=env, stdin=stdin)
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return process.returncode, out.decode(), err.decode()


def beside(server: Server) -> tuple[str, ...]:
    """The option by which a command finds a running server's store."""
    return ("--data-dir", str(server.data))


# -- help and mistakes


@contextlib.contextmanager
def own_logs() -> Iterator[None]:
    """Whatever a command does to the logs of this process is undone."""
    root, configured = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.configure(**configured)


def typed(*arguments: str, stdin: bytes = b"", env: Mapping[str, str] = {}) -> tuple[int, str]:
    """A command's exit code and all its words, in this process: for what ends in a moment."""
    kept = clean_environment()
    cleared = {name: None for name in os.environ if name not in kept}
    with own_logs():
        result = CliRunner().invoke(
            main, arguments, input=stdin, env={**cleared, **env}, prog_name="liveblog"
        )
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.output


def test_the_help_shows_every_command_and_an_example_of_it() -> None:
    code, text = typed("--help")

    assert code == 0
    assert typed("-h") == (code, text)
    for command in COMMANDS:
        assert re.search(rf"^  {command}  +\S.*[.?]$", text, re.MULTILINE), command
    assert re.findall(r"^ *liveblog (\w+)", text, re.MULTILINE) == [
        "invite",
        "post",
        "tail",
        "doctor",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_what_it_does_and_takes(command: str) -> None:
    code, text = typed(command, "--help")

    assert code == 0
    assert text.startswith(f"Usage: liveblog {command}")
    options = re.findall(r"^  (--[\w-]+)", text, re.MULTILINE)
    assert options
    for option in options:
        assert re.search(rf"{option}\b.*?[a-z]{{3}}", text, re.DOTALL)


def test_the_version_is_told() -> None:
    assert typed("--version") == (0, f"liveblog, version {__version__}\n")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["publish"], "No such command 'publish'"),
        (["serve", "--prot", "80"], "--port"),
        (["invite"], "Missing argument 'SLUG'"),
        (["post", "live"], "Missing argument 'TEXT'"),
        (["post", "live", "x", "--kind", "poll"], "announcement"),
        (["invite", "live", "--uses", "many"], "not a valid integer"),
        (["tail"], "Missing argument 'SLUG'"),
        (["doctor", "now"], "unexpected extra argument"),
    ],
)
def test_a_wrong_command_line_is_code_2_and_says_what_is_wrong(
    arguments: list[str], words: str
) -> None:
    code, text = typed(*arguments)

    assert code == 2
    assert words in text
    assert "--help" in text


@pytest.mark.parametrize(
    "arguments, environment, words",
    [
        (["--port", "x"], {}, "PORT (--port) is 'x': it must be a whole number from 0 to 65535"),
        ([], {"PORT": "70000"}, "PORT is '70000'"),
        ([], {"WEB_CONCURRENCY": "0"}, "WEB_CONCURRENCY is '0'"),
        (["serve", "--workers", "0"], {"WEB_CONCURRENCY": "1"}, "(--workers) is '0'"),
        ([], {"LIVEBLOG_LOG_LEVEL": "loud"}, "one of debug, info, warning, error"),
        ([], {"LIVEBLOG_OWNER_TOKEN": "sesame"}, "at least 16 random characters"),
        ([], {"LIVEBLOG_PUBLIC_URL": "live.example"}, "like https://live.example.org"),
        ([], {"LIVEBLOG_DATADIR": "x"}, "LIVEBLOG_DATADIR is no setting"),
        (["doctor"], {"PORT": "x"}, "PORT is 'x'"),
        (["--redis-url", "http://h"], {}, "Use redis://, rediss://, unix://, redis+sentinel:// or"),
        ([], {"REDIS_URL": "redis+cluster://h/1"}, "a cluster has only one"),
        ([], {"REDIS_URL": "redis+sentinel://h"}, "must name the service that the Sentinels watch"),
        ([], {"LIVEBLOG_REPLICAS": "1"}, "the embedded one has no replicas"),
        ([], {"LIVEBLOG_REPLICAS": "some"}, "a whole number from 0 to 16"),
        ([], {"REDIS_URL": "redis://h:port"}, "REDIS_URL can't be read"),
        (["--redis-url", "redis://:hush@127.0.0.1:1"], {}, "redis://127.0.0.1:1 doesn't answer"),
        (["post", "live", "x", "--redis-url", "redis://127.0.0.1:1"], {}, "mend REDIS_URL"),
        (["--redis-url", "redis://[::1"], {}, "REDIS_URL can't be read"),
        (["--redis-url", "redis://h/?foo=bar"], {}, "the parameter foo; there are client_name"),
        ([], {"REDIS_URL": "redis://h/?decode_responses=true"}, "the parameter decode_responses"),
        ([], {"REDIS_URL": "redis://u:hush/sesame@h:1"}, "In a password, write / as %2F"),
        ([], {"REDIS_URL": "redis://u:1/sesame@h:1"}, "In a password, write / as %2F"),
        ([], {"REDIS_URL": "redis://u:1#sesame@h:1"}, "In a password, write / as %2F"),
        ([], {"REDIS_URL": "redis://u:1?sesame&hush@h:1"}, "In a password, write / as %2F"),
        (["--data-dir", "/dev/null/x"], {}, "--data-dir"),
        (["--data-dir", "~nobody2/x"], {}, "(--data-dir) is '~nobody2/x': there is no such user"),
        (["--data-dir", "x\udcff"], {}, "LIVEBLOG_DATA_DIR (--data-dir) isn't text in UTF-8"),
        ([], {"LIVEBLOG_OWNER_TOKEN": "\udcff" * 16}, "LIVEBLOG_OWNER_TOKEN isn't text"),
        (["tail", "live", "--url", "live.example.org"], {}, "like https://live.example.org"),
        (["tail", "live", "--url", "http://"], {}, "--url http://: must be"),
        (["tail", "live", "--url", "http://h:99999"], {}, "--url http://h:99999: must be"),
        (["tail", "no blog", "--after", "\udcff"], {}, "There is no blog at /no blog."),
        (["invite", "../live"], {}, "There is no blog at /../live."),
        (["invite", "\udcff"], {}, "There is no blog"),
        (["post", "api", "x"], {}, "There is no blog at /api."),
        (["invite", "live", "--hours", "nan"], {}, "--hours more than 0 and at most 8,784"),
        (["invite", "live", "--hours", "inf"], {}, "--hours more than 0 and at most 8,784"),
        (["invite", "live", "--hours", "0"], {}, "--hours more than 0"),
        (["invite", "live", "--uses", "0"], {}, "--uses must be at least 1"),
    ],
)
def test_what_cannot_be_done_is_code_1_and_one_line_of_what_to_do(
    arguments: list[str], environment: dict[str, str], words: str
) -> None:
    code, text = typed(*arguments, env=environment)

    assert code == 1, text
    line = text.splitlines()[-1]
    assert line.startswith("liveblog: ")
    assert words in line
    assert "hush" not in text
    assert "sesame" not in text


async def test_messages_go_to_standard_error() -> None:
    code, out, err = await run("--port", "x")

    assert (code, out) == (1, "")
    assert err.startswith("liveblog: PORT")


# -- serve


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        code, _, err = await run("serve", "--port", port, "--data-dir", str(tmp_path))

    assert code == 1
    assert f"Can't listen on 127.0.0.1:{port}" in err
    assert "--port" in err


async def test_an_address_that_is_not_ours_is_named(tmp_path: Path) -> None:
    code, _, err = await run("--host", "192.0.2.1", "--port", "0", "--data-dir", str(tmp_path))

    assert code == 1
    assert "Can't listen on 192.0.2.1:0" in err
    assert "--host" in err


async def test_a_name_that_no_machine_has_is_named(tmp_path: Path) -> None:
    code, _, err = await run("--host", "a..b", "--port", "0", "--data-dir", str(tmp_path))

    assert code == 1
    assert "Can't listen on 'a..b'" in err
    assert "--host" in err


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
async def test_files_that_were_closed_before_it_began_are_in_nobodys_way(
    tmp_path: Path, closed: str
) -> None:
    async with Server(tmp_path) as server:
        for arguments, expected in ((["doctor"], 0), (["post", "live", "-"], 1)):
            process = await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", f'exec "$0" -m liveblog "$@" {closed}', sys.executable,
                *arguments, *beside(server), cwd=ROOT, env=clean_environment(), stdin=DEVNULL,
            )  # fmt: skip
            async with asyncio.timeout(30):
                assert await process.wait() == expected


async def test_a_server_without_standard_input_ends_in_peace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} "$@" <&-\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))

    async with Server(tmp_path) as server:
        assert await server.terminate() == 0


async def test_a_second_server_on_the_same_data_says_who_holds_it(house: Stage) -> None:
    server = house.server

    code, _, err = await run("serve", "--port", "0", *beside(server))

    assert code == 1
    assert f"pid {server.pid}" in err
    assert server.url in err
    assert (await server.get("/readyz")).status_code == 200


async def test_alone_it_serves_as_the_environment_says(tmp_path: Path) -> None:
    port = free_port()
    process = await begun(env={"PORT": str(port), "LIVEBLOG_DATA_DIR": str(tmp_path / "data")})
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:

        async def ready() -> bool:
            return (await http.get("/readyz")).status_code == 200

        try:
            await eventually(ready, 20, every_seconds=0.1)
            process.send_signal(signal.SIGTERM)
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()

    assert process.returncode == 0, err
    assert f"http://127.0.0.1:{port}/live/write" in out.decode()
    assert (tmp_path / "data" / "owner-token").exists()


def links(server: Server) -> list[tuple[str, str]]:
    """What each start printed, in order."""
    return re.findall(r"^  (write|watch|screen|owner) +(\S.*)$", server.log, re.MULTILINE)


async def test_the_owners_token_is_made_once_and_its_link_printed_each_time(
    tmp_path: Path,
) -> None:
    async with Server(tmp_path, env={"LIVEBLOG_OWNER_TOKEN": None}) as server:
        kept = server.data / "owner-token"
        token = kept.read_text()
        await server.restart()

        assert links(server) == 2 * [
            ("write", f"{server.url}/live/write"),
            ("watch", f"{server.url}/live"),
            ("screen", f"{server.url}/live/screen"),
            ("owner", f"{server.url}/join#{token}"),
        ]
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
        assert len(token) >= 32
        assert [path.name for path in server.data.glob("owner-token*")] == ["owner-token"]
        async with forgetful_client(server.url) as http:
            stage = Stage(server, http)
            boss = await stage.joined(token, "Boss")
            assert (await stage.call(boss, "GET", "/api/me")).json()["roles"] == {"live": "owner"}


def test_a_token_that_was_set_is_printed_nowhere(house: Stage) -> None:
    server = house.server
    assert links(server)[-1] == ("owner", f"{server.url}/join, with LIVEBLOG_OWNER_TOKEN")
    assert server.owner_token not in server.log
    assert not (server.data / "owner-token").exists()


async def test_a_token_file_that_anybody_could_guess_opens_nothing(tmp_path: Path) -> None:
    for left in ("", " \n", "short"):
        (tmp_path / "owner-token").write_text(left)

        code, _, err = await run("serve", "--port", "0", "--data-dir", str(tmp_path))

        assert code == 1
        assert f"{tmp_path / 'owner-token'} holds no token any more. Remove it" in err


async def test_links_carry_the_public_address_and_options_win(tmp_path: Path) -> None:
    public = {"LIVEBLOG_PUBLIC_URL": "https://live.example.org"}
    ignored = {"PORT": "1", "LIVEBLOG_DATA_DIR": "/dev/null"}
    async with Server(tmp_path, env={**public, **ignored}) as server:
        assert links(server)[1] == ("watch", "https://live.example.org/live")
        _, link, _ = await run("invite", "live", *beside(server), env=public)
        assert link.startswith("https://live.example.org/join#")


async def test_only_a_first_start_makes_a_blog(tmp_path: Path) -> None:
    async with Server(tmp_path) as server, forgetful_client(server.url) as http:
        stage = await Stage(server, http).another()
        await server.restart()

        blogs = (await http.get("/api/blogs")).json()["blogs"]
        assert {blog["slug"] for blog in blogs} == {"live", stage.slug}


async def heard_out(viewer: ClientConnection) -> None:
    while True:
        await viewer.recv()


async def test_a_graceful_stop_answers_whoever_is_there(tmp_path: Path) -> None:
    async with Server(tmp_path, env={"LIVEBLOG_DRAIN_SECONDS": "2"}) as server:
        body = b'{"body": "in flight"}'
        head = (
            f"POST /api/blogs/live/posts HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {server.owner_token}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head.encode() + body[:5])
        kept, keeper = await asyncio.open_connection("127.0.0.1", server.port)
        keeper.write(b"GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n")
        assert b" 200 " in await kept.readuntil(b"\r\n")
        async with contextlib.AsyncExitStack() as stack:
            url = f"{server.websocket_url}/live/live"
            # So many that each process has some to send away, and doesn't end before that.
            viewers = [await stack.enter_async_context(connect(url)) for _ in range(20)]
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            await eventually(server.is_draining)

            writer.write(body[5:])
            assert b" 201 " in await reader.readuntil(b"\r\n")
            codes = []
            for viewer in viewers:
                with pytest.raises(ConnectionClosed) as closed:
                    await heard_out(viewer)
                assert closed.value.rcvd is not None
                codes.append(closed.value.rcvd.code)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", server.port)

        assert codes == [4001] * len(viewers)
        writer.close()
        keeper.close()
        assert await server.wait_ended() == 0
        await server.start()
        posts = (await server.get("/api/blogs/live/posts")).json()["posts"]
        assert [post["body"] for post in posts] == ["in flight"]


async def test_while_draining_it_is_not_ready(tmp_path: Path) -> None:
    async with Server(tmp_path, env={"LIVEBLOG_DRAIN_SECONDS": "2"}) as server:
        async with contextlib.AsyncExitStack() as stack:
            url = f"{server.websocket_url}/live/live"
            for _ in range(50):
                await stack.enter_async_context(connect(url))
            http = await stack.enter_async_context(forgetful_client(server.url))
            assert (await http.get("/readyz")).status_code == 200
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            await eventually(server.is_draining)

            ready = await http.get("/readyz")

            assert (ready.status_code, ready.json()["ready"]) == (503, False)
            assert ready.headers["retry-after"]
        assert await server.wait_ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_that_was_asked_for_is_code_0(tmp_path: Path, number: signal.Signals) -> None:
    async with Server(tmp_path) as server:
        assert server.process is not None
        server.process.send_signal(number)

        assert await server.wait_ended() == 0
        assert "Traceback" not in server.log


# -- invite


async def test_an_invitation_from_the_command_line_lets_in(stage: Stage) -> None:
    code, out, err = await run(
        "invite", stage.slug, "--role", "editor", "--name", "Ana", "--uses", "2", "--hours", "1",
        *beside(stage.server),
    )  # fmt: skip

    assert (code, err) == (0, "")
    (link,) = out.splitlines()
    address, _, secret = link.partition("#")
    assert address == f"{stage.server.url}/join"
    for name in ("Ana", "Ben"):
        player = await stage.joined(secret, name)
        me = (await stage.call(player, "GET", "/api/me")).json()
        assert me["roles"] == {stage.slug: "editor"}
    answer = await stage.call(NOBODY, "POST", "/api/join", {"secret": secret, "name": "Eve"})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("no-such-blog",), "There is no blog at /no-such-blog."),
        (("live", "--role", "owner"), "contributor, reporter, editor"),
        (("live", "--role", "boss"), "contributor, reporter, editor"),
        (("live", "--uses", "1001"), "at most 1,000"),
        (("live", "--name", "x" * 81), "at most 80"),
    ],
)
def test_an_invitation_that_cannot_be_is_explained(
    house: Stage, arguments: tuple[str, ...], words: str
) -> None:
    code, text = typed("invite", *arguments, *beside(house.server))

    assert code == 1
    assert re.fullmatch(rf"liveblog: .*{re.escape(words)}.*\n", text)


async def test_on_a_terminal_a_link_is_a_qr_code_too(stage: Stage) -> None:
    ours, theirs = pty.openpty()
    try:
        process = await begun("invite", stage.slug, *beside(stage.server), stdout=theirs)
        os.close(theirs)
        assert await process.wait() == 0
        shown = b""
        with contextlib.suppress(OSError):  # The end of a terminal whose other side is closed.
            while piece := os.read(ours, 65536):
                shown += piece
    finally:
        os.close(ours)

    text = shown.decode()
    assert "/join#" in text.splitlines()[0]
    assert len([row for row in text.splitlines()[1:] if "█" in row or "▀" in row]) > 10


# -- post


async def test_a_post_from_the_command_line_is_live(stage: Stage) -> None:
    code, out, err = await run(
        "post", stage.slug, "Doors **open**", "--kind", "announcement", "--headline", "Now",
        "--key", "--name", "Ana", *beside(stage.server),
    )  # fmt: skip

    assert (code, err) == (0, "")
    (post,) = (await stage.http.get(f"{stage.api}/posts")).json()["posts"]
    assert out == f"{post['url']}\n"
    assert (post["body"], post["kind"], post["headline"], post["key"]) == (
        "Doors **open**",
        "announcement",
        "Now",
        True,
    )
    assert post["author"]["name"] == "Ana"


async def test_a_post_may_come_from_standard_input(stage: Stage) -> None:
    code, _, _ = await run(
        "post", stage.slug, "-", *beside(stage.server), stdin="Été\r\n\r\n- übrigens 🚀\n".encode()
    )

    (post,) = (await stage.http.get(f"{stage.api}/posts")).json()["posts"]
    assert (code, post["body"]) == (0, "Été\n\n- übrigens 🚀")


@pytest.mark.parametrize(
    "body, stdin, words",
    [
        ("", b"", "body: must not be empty"),
        ("-", b"", "body: must not be empty"),
        ("-", b"\xff\xfe", "isn't text in UTF-8"),
        ("-", b"x" * 20_001, "at most 20,000"),
    ],
)
async def test_a_post_that_cannot_be_is_explained_and_not_kept(
    stage: Stage, body: str, stdin: bytes, words: str
) -> None:
    before = await stage.seen()

    code, text = await asyncio.to_thread(
        typed, "post", stage.slug, body, *beside(stage.server), stdin=stdin
    )

    assert code == 1
    assert re.fullmatch(rf"liveblog: .*{re.escape(words)}.*\n", text)
    assert await stage.seen() == before


async def test_without_a_running_server_a_command_opens_the_store_for_a_moment(
    tmp_path: Path,
) -> None:
    async with Server(tmp_path) as server:
        await server.terminate()

        code, _, err = await run("post", "live", "From afar", *beside(server))

        assert (code, err) == (0, "")
        await server.start()
        posts = (await server.get("/api/blogs/live/posts")).json()["posts"]
        assert [post["body"] for post in posts] == ["From afar"]


@pytest.mark.parametrize("arguments", [("post", "live", "x"), ("invite", "live"), ("doctor",)])
async def test_only_a_server_makes_a_data_directory(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    code, out, err = await run(*arguments, env={"LIVEBLOG_DATA_DIR": str(tmp_path / "wrong")})

    assert code == 1
    assert f"There is no store in the data directory {tmp_path / 'wrong'}." in out + err
    assert "--data-dir" in out + err
    assert "liveblog serve" in out + err
    assert list(tmp_path.iterdir()) == []


# -- tail


@asynccontextmanager
async def tailing(stage: Stage, *arguments: str) -> AsyncIterator[asyncio.StreamReader]:
    """A `tail` that is connected, and its standard output."""
    before = await viewers(stage)
    process = await begun("tail", stage.slug, "--url", stage.server.url, *arguments)
    assert process.stdout is not None
    try:

        async def connected() -> bool:
            return await viewers(stage) > before

        await eventually(connected, 10)
        yield process.stdout
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def viewers(stage: Stage) -> float:
    metrics = (await stage.http.get("/metrics")).text
    (count,) = re.findall(r"^liveblog_viewers (\S+)$", metrics, re.MULTILINE)
    return float(count)


async def told(output: asyncio.StreamReader, count: int) -> list[str]:
    async with asyncio.timeout(20):
        return [(await output.readline()).decode().rstrip("\n") for _ in range(count)]


async def test_a_tail_tells_all_that_happens(stage: Stage) -> None:
    await stage.publish(body="before")
    async with tailing(stage) as output:
        post = await stage.publish(body="Doors\n**open**", headline="Now", key=True)
        path = f"posts/{post['id']}"
        await stage.call(stage.owner, "PATCH", path, {"body": "Closed"}, If_Match='"1"')
        lines = await told(output, 2)
        await stage.call(stage.owner, "DELETE", path)
        await stage.call(stage.owner, "PATCH", "", {"state": "ended"})
        lines += await told(output, 2)

    clock = post["published_at"][11:16]
    assert lines == [
        f"#2  {clock} The desk: ◆ Now. Doors **open**",
        f"#3  {clock} The desk (edited): ◆ Now. Closed",
        f"#4  removed {post['id']}",
        "#5  is now ended",
    ]


async def test_a_tail_goes_on_from_a_cursor(stage: Stage) -> None:
    for number in range(1, 4):
        await stage.publish(body=f"post {number}")
    start = (await stage.http.get(f"{stage.api}/posts")).json()["cursor"]
    await stage.publish(body="post 4")

    async with tailing(stage, "--after", start, "--cursors") as output:
        await stage.publish(body="post 5")
        lines = await told(output, 2)

    assert [line.split(":")[-1].split("  ")[0] for line in lines] == [" post 4", " post 5"]
    head = (await stage.http.get(f"{stage.api}/posts")).json()["cursor"]
    assert lines[-1].endswith(f"[{head}]")


async def test_a_tail_outlives_its_server_and_misses_nothing(tmp_path: Path) -> None:
    async with Server(tmp_path) as server, forgetful_client(server.url) as http:
        stage = Stage(server, http)
        async with tailing(stage) as output:
            for number in range(1, 4):
                await stage.publish(body=f"post {number}")
            assert await server.terminate() == 0
            code, _, _ = await run("post", "live", "post 4", *beside(server))
            assert code == 0
            await server.start()
            await stage.publish(body="post 5")
            server.kill()
            await server.start()
            await stage.publish(body="post 6")

            lines = await told(output, 6)

    assert [line.split()[0] for line in lines] == [f"#{number}" for number in range(1, 7)]
    assert [line.rpartition(": ")[2] for line in lines] == [f"post {n}" for n in range(1, 7)]


async def test_a_tail_of_nothing_ends(house: Stage) -> None:
    code, out, err = await run("tail", "no-such-blog", "--url", house.server.url)

    assert (code, out) == (1, "")
    assert err == "liveblog: There is no blog at /no-such-blog.\n"


async def test_a_tail_ends_with_its_reader(stage: Stage) -> None:
    reading, writing = os.pipe()
    process = await begun("tail", stage.slug, "--url", stage.server.url, stdout=writing)
    os.close(writing)
    try:
        os.close(reading)

        async def ended() -> bool:
            await stage.publish()
            return process.returncode is not None

        await eventually(ended, 15, every_seconds=0.1)
        assert process.returncode == 0
        assert process.stderr is not None
        assert await process.stderr.read() == b""
    finally:
        if process.returncode is None:
            process.kill()


async def test_a_tail_says_why_it_waits_and_can_be_interrupted() -> None:
    process = await begun("tail", "live", "--url", f"http://127.0.0.1:{free_port()}")
    assert process.stderr is not None
    try:
        async with asyncio.timeout(15):
            line = (await process.stderr.readline()).decode()
        assert re.search(
            r"^-- not connected \(.*refused.*\); next try in 0\.5 s$", line, re.IGNORECASE
        )

        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            assert await process.wait() == 130
        assert b"Traceback" not in await process.stderr.read()
    finally:
        if process.returncode is None:
            process.kill()


# -- doctor


async def test_a_doctor_finds_all_good(house: Stage) -> None:
    code, out, err = await run(
        "doctor", *beside(house.server), env={"LIVEBLOG_PUBLIC_URL": "https://live.example.org"}
    )

    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["good"] * 5
    for line, word in zip(
        lines, ("store", "durability", "clock", "open files", "public URL"), strict=True
    ):
        assert line.startswith(f"good  {word}: ")


async def test_a_doctor_compares_clocks_where_there_are_two(house: Stage, tmp_path: Path) -> None:
    _, ours, _ = await run("doctor", *beside(house.server))
    async with RedisServer(tmp_path) as redis:
        _, theirs, _ = await run("doctor", "--redis-url", redis.url)

    assert re.search(r"^good  clock: it is [\d-]{10} [\d:]{8} UTC here", ours, re.MULTILINE)
    assert re.search(r"^good  clock: 0\.\d s from the store's$", theirs, re.MULTILINE)


async def test_a_doctor_says_what_to_mend(tmp_path: Path) -> None:
    async with RedisServer(tmp_path, "--appendonly", "no") as redis:
        code, out, _ = await run(
            "doctor", "--redis-url", redis.url, env={"LIVEBLOG_PUBLIC_URL": "http://live.example"}
        )

    assert code == 1
    assert re.findall(r"^MEND  (\S+):? .*\n      \S", out, re.MULTILINE) == [
        "durability:",
        "public",
    ]
    assert "appendonly" in out
    assert "https://" in out


async def test_a_doctor_of_a_silent_store_names_it(tmp_path: Path) -> None:
    url = f"redis://:hush@127.0.0.1:{free_port()}"

    code, out, err = await run("doctor", "--redis-url", url)

    assert code == 1
    assert re.search(
        r"^MEND  store\n      The store at redis://127\.0\.0\.1:\d+ doesn't answer", out
    )
    assert "hush" not in out + err
    assert "good  open files" in out


@pytest.mark.parametrize("command", ["serve", "doctor", "invite"])
async def test_a_redis_user_who_may_not_write_is_refused_and_not_called_silent(
    tmp_path: Path, command: str
) -> None:
    async with RedisServer(tmp_path) as redis:
        async with Server(tmp_path, env={"REDIS_URL": redis.url}):
            pass  # There is a blog, so that a start has nothing to write.
        async with meddling(redis.url) as hand:
            await hand.execute_command(
                "ACL", "SETUSER", "ana", "on", ">hush", "~*", "&*", "+@read", "+@connection",
                "+info", "+ssubscribe",
            )  # fmt: skip
        url = redis.url.replace("//", "//ana:hush@")
        more = {"serve": ["--port", "0"], "invite": ["live"], "doctor": []}[command]

        code, out, err = await run(command, *more, "--redis-url", url)

    assert code == 1
    assert f"The store at {redis.url} allows this user too little" in out + err
    assert "every command on keys and channels that begin with lb:" in out + err
    assert "doesn't answer" not in out + err
    assert "hush" not in out + err


async def test_behind_proxies_a_doctor_wants_a_public_address(house: Stage) -> None:
    code, out, _ = await run("doctor", *beside(house.server), env={"LIVEBLOG_TRUSTED_PROXIES": "1"})

    assert code == 1
    assert "set LIVEBLOG_PUBLIC_URL" in out
