"""The documents name everything that exists: what isn't in docs/protocol.md isn't promised."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import click
import orjson
import pytest
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from liveblog import cli, settings
from liveblog.delivery import frames, gate, hub, server, socket
from liveblog.domain import blog, invitation, person, post
from liveblog.domain.blog import Blog, BlogState
from liveblog.domain.cursor import Cursor
from liveblog.domain.entry import EntryAction
from liveblog.domain.post import Kind
from liveblog.store import log
from liveblog.web import api, body
from liveblog.web.routes import routes
from tests.support import ROOT

# The table shortens one address.
PROTOCOL = (
    (ROOT / "docs" / "protocol.md")
    .read_text("utf-8")
    .replace(" …/people/{id}", " /api/blogs/{slug}/people/{id}")
)
README = (ROOT / "README.md").read_text("utf-8")
ROWS = {
    cells[1].strip(): cells[2].strip()
    for line in PROTOCOL.partition("## Bounds")[2].splitlines()
    if len(cells := line.split("|")) > 3
}

BOUNDS = {
    "post: `body`": post.BODY_LONGEST,
    "post: `headline`": post.HEADLINE_LONGEST,
    "post: `tags`": post.TAGS_MOST,
    "post: `tags` ": post.TAG_LONGEST,
    "post: `session`": post.SESSION_LONGEST,
    "blog: `title`": blog.TITLE_LONGEST,
    "blog: `summary`": blog.SUMMARY_LONGEST,
    "blog: `venue`": blog.VENUE_LONGEST,
    "person: `name`": person.NAME_LONGEST,
    "invitation: `uses`": invitation.USES_MOST,
    "invitation: `expires_in_seconds`": invitation.EXPIRY_MOST_SECONDS,
    "invitation: `expires_in_seconds` ": invitation.EXPIRY_DEFAULT_SECONDS,
    "request body outside media": body.BODY_MOST_BYTES,
    "`limit` of posts": api.POSTS_MOST,
    "`limit` of posts ": api.POSTS_DEFAULT,
    "entries an answer of `/entries`": api.ENTRIES_MOST,
    "entries of a closed range": api.ENTRIES_MOST,
    "`wait`": int(api.WAIT_MOST_SECONDS),
    "request line and header fields": server.HEAD_MOST_BYTES,
    "time for the head of a request": int(server.HEAD_SECONDS),
    "time for its body": int(server.BODY_SECONDS),
    "key moments on a page": log.MOMENTS_MOST,
    "frame from a viewer": socket.RECEIVED_MOST_BYTES,
    "all frames from a viewer between two heartbeats": socket.HEARD_MOST_BYTES,
    "of them, from one address (`LIVEBLOG_VIEWERS_PER_ADDRESS`)": (
        settings.Settings().viewers_per_address
    ),
    "of them, with one token or session": gate.PER_TOKEN,
    "streams that begin, one after another": gate.HANDSHAKES_A_SECOND,
    "heartbeat": frames.HEARTBEAT_SECONDS,
    "a viewer that doesn't read": int(hub.PAUSED_SECONDS),
    "drain (`LIVEBLOG_DRAIN_SECONDS`), of viewers and requests together": int(
        settings.Settings().drain_seconds
    ),
}


@pytest.mark.parametrize("name", settings.Settings.__struct_fields__)
def test_every_setting_is_in_the_protocol_and_in_the_readme(name: str) -> None:
    assert f"`{settings.variable(name)}`" in PROTOCOL
    assert f"`{settings.variable(name)}`" in README


def addresses(listed: list[BaseRoute]) -> list[tuple[str, str]]:
    """Each route as method and path."""
    found = []
    for route in listed:
        match route:
            case Route(path=path, methods=set(methods)):
                found += [(method, path) for method in methods - {"HEAD"}]
            case Route(path=path) | WebSocketRoute(path=path):
                found.append(("GET", path))
            case Mount(path=path):
                found.append(("GET", f"{path}/…"))
    return found


@pytest.mark.parametrize("method, path", addresses(routes))
def test_every_route_is_in_the_protocol(method: str, path: str) -> None:
    # The pages' table and the forms' line name no method, everything else does.
    named = f"{method} {path}" if path.startswith("/api/") else path
    assert re.search(rf"{re.escape(named)}(?![\w{{/-])", PROTOCOL)


@pytest.mark.parametrize(
    "frame",
    [
        frames.welcome(
            head=Cursor("e", 1, "t"),
            resumed=True,
            blog=Blog(slug="live", title="t", state=BlogState.LIVE, created_at=datetime.now(UTC)),
            viewers=1,
        ),
        frames.viewers(1),
        frames.heartbeat(1),
    ],
    ids=["welcome", "viewers", "heartbeat"],
)
def test_every_frame_is_in_the_protocol_with_its_fields(frame: bytes) -> None:
    fields = orjson.loads(frame)
    (row,) = [line for line in PROTOCOL.splitlines() if f'"type":"{fields["type"]}"' in line]
    assert [name for name in fields if f'"{name}"' not in row] == []


@pytest.mark.parametrize("word", [*EntryAction, *BlogState, *Kind])
def test_every_action_state_and_kind_is_in_the_protocol(word: str) -> None:
    assert f"`{word}`" in PROTOCOL or f'"{word}"' in PROTOCOL


@pytest.mark.parametrize("role", person.Role)
def test_every_role_is_in_the_protocol(role: person.Role) -> None:
    assert re.search(rf"\b{role.label}\b", PROTOCOL)


@pytest.mark.parametrize("code", [hub.DRAIN, hub.TOO_SLOW, hub.BLOG_GONE, hub.RESTART])
def test_every_close_code_is_in_the_protocol(code: int) -> None:
    assert str(code) in PROTOCOL


@pytest.mark.parametrize("row, bound", [(row.strip(), bound) for row, bound in BOUNDS.items()])
def test_every_bound_is_in_the_protocol(row: str, bound: int) -> None:
    assert re.search(rf"(?<![\d,]){bound:,}(?![\d,]\d)", ROWS[row])


def test_cursors_hold_for_as_long_as_the_protocol_says() -> None:
    promised = int(re.sub(r"\D", "", ROWS["cursors that can be resumed from"]))

    assert log.ENTRIES_KEPT >= promised == 10_000


def commands() -> list[tuple[str, click.Parameter | None]]:
    """Each command with each of its options, and once alone."""
    group = cli.main
    assert isinstance(group, click.Group)
    return [
        (name, parameter)
        for name, command in group.commands.items()
        for parameter in [None, *command.params]
        if not isinstance(parameter, click.Argument)
    ]


@pytest.mark.parametrize("name, option", commands())
def test_every_command_and_option_is_in_the_protocol(
    name: str, option: click.Parameter | None
) -> None:
    (row,) = re.findall(rf"^\| `liveblog {name}\b.*$", PROTOCOL, flags=re.MULTILINE)
    assert option is None or f"`{max(option.opts, key=len)}`" in row


def test_a_missing_word_would_be_noticed() -> None:
    with pytest.raises(AssertionError):
        test_every_setting_is_in_the_protocol_and_in_the_readme("no_such_setting")
    with pytest.raises(AssertionError):
        test_every_route_is_in_the_protocol("PUT", "/api/blogs/{slug}/posts/{id}")
    with pytest.raises(AssertionError):
        test_every_bound_is_in_the_protocol("post: `body`", post.BODY_LONGEST + 1)


@pytest.mark.parametrize("path", sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")}))
def test_every_link_between_documents_leads_somewhere(path: object) -> None:
    document = ROOT / str(path)
    targets = re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", document.read_text("utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []
