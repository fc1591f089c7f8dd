"""Every call of the API answers as docs/protocol.md says, to everybody who may send it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from liveblog.store.embedded import running_url
from tests.integration.cast import (
    NOBODY,
    Player,
    Stage,
    assert_invalid,
    assert_problem,
    forgetful_client,
    signed_in,
)
from tests.support import Server, eventually

# -- who may do what

ROLES = ("anonymous", "contributor", "reporter", "editor", "owner", "stranger")


@dataclass(frozen=True)
class Scene:
    """What stands in the blog before somebody does something to it."""

    stage: Stage
    post: dict[str, Any]
    invitation: str
    member: Player


Path_ = Callable[[Scene], str]


@dataclass(frozen=True)
class Call:
    """A call of the API, what it asks, and its answer to each of ROLES, in that order."""

    name: str
    method: str
    path: Path_
    answers: tuple[int, ...]
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()

    async def made(self, scene: Scene, who: Player) -> httpx2.Response:
        return await scene.stage.call(
            who, self.method, self.path(scene), self.body, **dict(self.headers)
        )


READ = (200,) * 6
#                     anonymous contributor reporter editor owner stranger
EDITORS = (401, 403, 403, 200, 200, 403)
EDITORS_GONE = (401, 403, 403, 204, 204, 403)

CALLS = [
    Call("list blogs", "GET", lambda _: "/api/blogs", READ),
    Call("show blog", "GET", lambda _: "", READ),
    Call("list posts", "GET", lambda _: "posts", READ),
    Call("show post", "GET", lambda scene: f"posts/{scene.post['id']}", READ),
    Call("read entries", "GET", lambda _: "entries", READ),
    Call("me", "GET", lambda _: "/api/me", (401, 200, 200, 200, 200, 200)),
    Call("log out", "POST", lambda _: "/api/logout", (401, 204, 204, 204, 204, 204)),
    Call(
        "create blog",
        "POST",
        lambda _: "/api/blogs",
        (401, 403, 403, 403, 422, 403),
        {"slug": "API", "title": "Not a slug"},
    ),
    Call("change blog", "PATCH", lambda _: "", EDITORS, {"title": "Changed"}),
    Call("publish", "POST", lambda _: "posts", (401, 403, 201, 201, 201, 403), {"body": "New"}),
    Call(
        "edit another's post",
        "PATCH",
        lambda scene: f"posts/{scene.post['id']}",
        EDITORS,
        {"body": "Edited"},
        (("If_Match", '"1"'),),
    ),
    Call(
        "remove another's post", "DELETE", lambda scene: f"posts/{scene.post['id']}", EDITORS_GONE
    ),
    Call("invite", "POST", lambda _: "invitations", (401, 403, 403, 201, 201, 403), {}),
    Call("revoke", "DELETE", lambda scene: f"invitations/{scene.invitation}", EDITORS_GONE),
    Call("list people", "GET", lambda _: "people", EDITORS),
    Call(
        "change role",
        "PATCH",
        lambda scene: f"people/{scene.member.id}",
        EDITORS,
        {"role": "contributor"},
    ),
    Call("remove person", "DELETE", lambda scene: f"people/{scene.member.id}", EDITORS_GONE),
]
# These are about no blog in particular.
EVERYWHERE = {"list blogs", "me", "log out", "create blog"}


async def set_scene(stage: Stage) -> Scene:
    made = await stage.call(stage.owner, "POST", "invitations", {})
    member = await stage.joined(await stage.secret("reporter"), "Ben")
    return Scene(stage, await stage.publish(member), made.json()["id"], member)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
async def test_each_role_is_answered_as_the_table_says(stage: Stage, call: Call, role: str) -> None:
    scene = await set_scene(stage)
    who = await stage.player(role)
    before = await stage.seen()

    answer = await call.made(scene, who)

    expected = call.answers[ROLES.index(role)]
    assert answer.status_code == expected, answer.text
    if expected >= 400:
        assert_problem(answer, expected)
        assert await stage.seen() == before, "a refusal changed something"
    elif call.method != "GET" and not call.path(scene).startswith("/api/"):
        changed = await stage.seen() != before
        assert changed or call.name in {"invite", "revoke"}, "an acceptance changed nothing"


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
async def test_a_dead_token_is_401_wherever_it_is_shown(stage: Stage, call: Call) -> None:
    if call.name in {"list blogs", "show blog", "list posts", "show post", "read entries"}:
        return  # What all may read needs nobody to be known.
    scene = await set_scene(stage)
    left = await stage.player("editor")
    assert (await stage.call(left, "POST", "/api/logout")).status_code == 204
    before = await stage.seen()

    for token in (left.token, "unknown", "x" * 5000, "café"):
        answer = await stage.http.request(
            call.method,
            call.path(scene)
            if call.path(scene).startswith("/")
            else f"{stage.api}/{call.path(scene)}".rstrip("/"),
            json=call.body,
            headers=[(b"Authorization", b"Bearer " + token.encode())],
        )
        assert_problem(answer, 401)

    assert await stage.seen() == before


@pytest.mark.parametrize("value", ["Bearer", "Basic b3duZXI6eA==", "Token x"])
async def test_another_kind_of_credential_is_401(stage: Stage, value: str) -> None:
    assert_problem(
        await stage.call(NOBODY, "POST", "posts", {"body": "x"}, Authorization=value), 401
    )


async def test_the_scheme_is_read_in_any_case(stage: Stage) -> None:
    answer = await stage.call(
        NOBODY, "POST", "posts", {"body": "x"}, Authorization=f"bearer {stage.owner.token}"
    )

    assert answer.status_code == 201


@pytest.mark.parametrize("role", ["owner", "editor", "reporter", "contributor"])
async def test_an_editor_gives_any_role_but_the_owners(stage: Stage, role: str) -> None:
    editor = await stage.player("editor")

    answer = await stage.call(editor, "POST", "invitations", {"role": role})

    if role == "owner":
        assert_invalid(answer, "role")
    else:
        assert answer.status_code == 201


async def test_an_authors_own_posts_are_theirs_as_long_as_the_role_lasts(stage: Stage) -> None:
    ana = await stage.player("reporter")
    one, two = await stage.publish(ana), await stage.publish(ana)

    edit = await stage.call(ana, "PATCH", f"posts/{one['id']}", {"body": "Mine"}, If_Match='"1"')
    removal = await stage.call(ana, "DELETE", f"posts/{one['id']}")
    assert (edit.status_code, removal.status_code) == (200, 204)

    await stage.call(stage.owner, "PATCH", f"people/{ana.id}", {"role": "contributor"})

    assert_problem(
        await stage.call(ana, "PATCH", f"posts/{two['id']}", {"body": "Mine"}, If_Match='"1"'), 403
    )
    assert_problem(await stage.call(ana, "DELETE", f"posts/{two['id']}"), 403)


# -- blogs


async def test_a_blog_is_made_shown_and_listed(stage: Stage) -> None:
    slug = f"{stage.slug}-2"
    made = await stage.call(
        stage.owner,
        "POST",
        "/api/blogs",
        {
            "slug": slug,
            "title": "  Plone   Conference ",
            "summary": "Three days",
            "venue": "Jyväskylä",
            "starts_at": "2031-11-26T09:00:00+02:00",
            "ends_at": "2031-11-29T18:00:00+02:00",
            "timezone": "Europe/Helsinki",
            "language": "fi",
        },
    )

    assert made.status_code == 201
    assert made.headers["location"] == f"/{slug}"
    blog = made.json()
    assert blog.pop("created_at").endswith("Z")
    assert blog == {
        "slug": slug,
        "title": "Plone Conference",
        "state": "upcoming",
        "revision": 1,
        "summary": "Three days",
        "venue": "Jyväskylä",
        "starts_at": "2031-11-26T07:00:00Z",
        "ends_at": "2031-11-29T16:00:00Z",
        "timezone": "Europe/Helsinki",
        "language": "fi",
        "url": f"{stage.server.url}/{slug}",
    }
    assert (await stage.http.get(f"/api/blogs/{slug}")).json() == made.json()
    assert made.json() in (await stage.http.get("/api/blogs")).json()["blogs"]
    assert (await stage.http.get(f"/api/blogs/{slug}/posts")).json()["posts"] == []


async def test_a_blog_without_a_date_is_live_at_once(stage: Stage) -> None:
    assert (await stage.http.get(stage.api)).json()["state"] == "live"


async def test_a_slug_that_is_taken_is_409_and_the_first_blog_stands(stage: Stage) -> None:
    before = await stage.seen()

    answer = await stage.call(
        stage.owner, "POST", "/api/blogs", {"slug": stage.slug, "title": "Mine now"}
    )

    assert_problem(answer, 409)
    assert await stage.seen() == before


async def test_of_two_at_once_one_gets_the_slug(stage: Stage) -> None:
    answers = await asyncio.gather(
        *(
            stage.call(
                stage.owner, "POST", "/api/blogs", {"slug": f"{stage.slug}-3", "title": f"{number}"}
            )
            for number in range(8)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    (made,) = [answer.json() for answer in answers if answer.status_code == 201]
    assert (await stage.http.get(f"/api/blogs/{stage.slug}-3")).json() == made


async def test_a_change_of_the_blog_is_an_entry_of_its_log(stage: Stage) -> None:
    start = (await stage.http.get(f"{stage.api}/posts")).json()

    answer = await stage.call(
        stage.owner, "PATCH", "", {"title": "Now", "state": "paused", "venue": "Hall 2"}
    )

    assert answer.status_code == 200
    blog = answer.json()
    assert (blog["title"], blog["state"], blog["venue"]) == ("Now", "paused", "Hall 2")
    entries = (await stage.http.get(f"{stage.api}/entries?after={start['cursor']}")).json()
    (entry,) = entries["entries"]
    assert (entry["action"], entry["offset"], entry["blog"]) == (
        "blog",
        start["offset"] + 1,
        blog,
    )
    assert (await stage.http.get(stage.api)).json() == blog


@pytest.mark.parametrize("state", ["upcoming", "live", "paused", "ended"])
async def test_a_blog_takes_each_state(stage: Stage, state: str) -> None:
    answer = await stage.call(stage.owner, "PATCH", "", {"state": state})

    assert (answer.status_code, answer.json()["state"]) == (200, state)


async def test_null_takes_away_what_may_be_missing(stage: Stage) -> None:
    await stage.call(
        stage.owner, "PATCH", "", {"summary": "s", "starts_at": "2031-01-01T00:00:00Z"}
    )

    answer = await stage.call(stage.owner, "PATCH", "", {"summary": None, "starts_at": None})

    assert (answer.json()["summary"], answer.json()["starts_at"]) == (None, None)
    assert_invalid(await stage.call(stage.owner, "PATCH", "", {"title": None}), "title")


@pytest.mark.parametrize("change", [{}, {"title": "A test"}, {"title": " A  test "}])
async def test_a_change_that_changes_nothing_is_no_entry(
    stage: Stage, change: dict[str, str]
) -> None:
    before = await stage.seen()

    assert (await stage.call(stage.owner, "PATCH", "", change)).status_code == 200

    assert await stage.seen() == before


async def test_two_changes_at_once_both_land(stage: Stage) -> None:
    changes = [{"title": "Both"}, {"venue": "Hall"}, {"state": "paused"}, {"summary": "Words"}]

    answers = await asyncio.gather(
        *(stage.call(stage.owner, "PATCH", "", change) for change in changes)
    )

    assert [answer.status_code for answer in answers] == [200] * 4
    blog = (await stage.http.get(stage.api)).json()
    assert {name: blog[name] for change in changes for name in change} == {
        "title": "Both",
        "venue": "Hall",
        "state": "paused",
        "summary": "Words",
    }
    assert blog["revision"] == 5


async def test_thirty_changes_at_once_all_land(stage: Stage) -> None:
    names = ["title", "venue", "summary"]
    changes = [{names[n % 3]: f"{n}"} for n in range(30)]

    answers = await asyncio.gather(
        *(stage.call(stage.owner, "PATCH", "", change) for change in changes)
    )

    assert [answer.status_code for answer in answers] == [200] * 30
    blog = (await stage.http.get(stage.api)).json()
    assert blog["revision"] == 31
    last = max(answers, key=lambda answer: int(answer.json()["revision"])).json()
    assert {name: blog[name] for name in names} == {name: last[name] for name in names}


async def test_an_event_does_not_end_before_it_starts(stage: Stage) -> None:
    await stage.call(stage.owner, "PATCH", "", {"starts_at": "2031-01-02T00:00:00Z"})

    answer = await stage.call(stage.owner, "PATCH", "", {"ends_at": "2031-01-01T00:00:00Z"})

    assert_invalid(answer, "ends_at")


# -- posts


async def test_a_post_is_shown_as_the_protocol_has_it(stage: Stage) -> None:
    ana = await stage.player("reporter", "Ana")
    began = datetime.now(UTC)

    made = await stage.call(
        ana,
        "POST",
        "posts",
        {
            "body": "Doors **open**",
            "kind": "quote",
            "headline": "Now",
            "key": True,
            "pinned": True,
            "tags": ["#hall", "doors"],
            "session": "Main",
            "media": [],
            "captured_at": "2026-11-23T11:02:11+01:00",
        },
    )

    assert made.status_code == 201
    post = made.json()
    assert made.headers["location"] == f"/{stage.slug}/posts/{post['id']}"
    assert made.headers["etag"] == '"1"'
    assert "idempotent-replayed" not in made.headers
    assert post == {
        "id": post["id"],
        "blog": stage.slug,
        "revision": 1,
        "kind": "quote",
        "headline": "Now",
        "body": "Doors **open**",
        "html": "<p>Doors <strong>open</strong></p>",
        "key": True,
        "pinned": True,
        "tags": ["hall", "doors"],
        "session": "Main",
        "author": {"id": ana.id, "name": "Ana"},
        "credits": [],
        "media": [],
        "captured_at": "2026-11-23T10:02:11Z",
        "published_at": post["published_at"],
        "edited_at": None,
        "url": f"{stage.server.url}/{stage.slug}/posts/{post['id']}",
    }
    published = datetime.fromisoformat(post["published_at"])
    assert began - timedelta(seconds=1) <= published <= datetime.now(UTC)
    assert post["published_at"].endswith("Z")

    shown = await stage.http.get(f"{stage.api}/posts/{post['id']}")
    assert (shown.json(), shown.headers["etag"]) == (post, '"1"')
    assert (await stage.http.get(f"{stage.api}/posts")).json()["posts"] == [post]


async def test_a_post_needs_only_a_body(stage: Stage) -> None:
    post = await stage.publish()

    assert {name: post[name] for name in ("kind", "headline", "key", "pinned", "tags")} == {
        "kind": "update",
        "headline": None,
        "key": False,
        "pinned": False,
        "tags": [],
    }


@pytest.mark.parametrize(
    "kind", ["update", "photo", "video", "audio", "quote", "interview", "link", "announcement"]
)
async def test_a_post_takes_each_kind(stage: Stage, kind: str) -> None:
    assert (await stage.publish(kind=kind))["kind"] == kind


async def test_ids_tell_nothing_of_order_or_number(stage: Stage) -> None:
    ids = [(await stage.publish(body=str(number)))["id"] for number in range(12)]

    assert len(set(ids)) == 12
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{16,}", id) for id in ids)
    assert ids not in (sorted(ids), sorted(ids, reverse=True))


async def test_an_edit_is_a_revision_and_keeps_what_it_does_not_name(stage: Stage) -> None:
    post = await stage.publish(headline="Now", tags=["a"], key=True)

    answer = await stage.call(
        stage.owner, "PATCH", f"posts/{post['id']}", {"body": "Closed"}, If_Match='"1"'
    )

    edited = answer.json()
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    assert edited["edited_at"] >= post["published_at"]
    assert edited == {
        **post,
        "revision": 2,
        "body": "Closed",
        "html": "<p>Closed</p>",
        "edited_at": edited["edited_at"],
    }
    assert (await stage.http.get(f"{stage.api}/posts/{post['id']}")).json() == edited


@pytest.mark.parametrize(
    "change", [{}, {"body": "Doors open"}, {"body": " Doors open\n", "tags": [], "headline": None}]
)
async def test_an_edit_that_changes_nothing_is_no_revision(
    stage: Stage, change: dict[str, Any]
) -> None:
    post = await stage.publish()
    before = await stage.seen()

    answer = await stage.call(stage.owner, "PATCH", f"posts/{post['id']}", change, If_Match='"1"')

    assert (answer.status_code, answer.json()) == (200, post)
    assert answer.headers["etag"] == '"1"'
    assert await stage.seen() == before
    stale = await stage.call(stage.owner, "PATCH", f"posts/{post['id']}", change, If_Match='"2"')
    assert_problem(stale, 412)


async def test_an_edit_takes_away_what_it_sets_to_null(stage: Stage) -> None:
    post = await stage.publish(headline="Now", session="Main", captured_at="2026-01-01T00:00:00Z")

    edited = await stage.call(
        stage.owner,
        "PATCH",
        f"posts/{post['id']}",
        {"headline": None, "session": None, "captured_at": None, "tags": [], "key": False},
        If_Match='"1"',
    )

    assert [edited.json()[name] for name in ("headline", "session", "captured_at")] == [None] * 3


@pytest.mark.parametrize(
    "condition, status",
    [
        ('"2"', 200),
        ('W/"2"', 200),  # Proxies that compress weaken the tag; it still names the revision.
        ("2", 200),
        ('"1", "2"', 200),
        ("*", 200),
        (None, 428),
        ('"1"', 412),
        ('"3"', 412),
        ('"02"', 412),
        ('"-2"', 412),
        ('"2.0"', 412),
        ('"٢"', 412),
        ('""', 412),
        ('"', 412),
        ("", 412),
        ('"' + "9" * 5000 + '"', 412),
        ("yes", 412),
    ],
)
async def test_a_change_is_made_only_to_the_revision_that_it_names(
    stage: Stage, condition: str | None, status: int
) -> None:
    post = await stage.publish()
    path = f"{stage.api}/posts/{post['id']}"
    await stage.call(stage.owner, "PATCH", path, {"body": "Second"}, If_Match='"1"')
    before = await stage.seen()

    headers = [(b"Authorization", f"Bearer {stage.owner.token}".encode())]
    if condition is not None:
        headers.append((b"If-Match", condition.encode()))
    answer = await stage.http.request("PATCH", path, json={"body": "Third"}, headers=headers)

    if status == 200:
        assert (answer.status_code, answer.json()["revision"]) == (200, 3)
    else:
        assert_problem(answer, status)
        assert await stage.seen() == before


async def test_of_two_edits_of_one_revision_one_lands(stage: Stage) -> None:
    post = await stage.publish()

    answers = await asyncio.gather(
        *(
            stage.call(
                stage.owner, "PATCH", f"posts/{post['id']}", {"body": str(number)}, If_Match='"1"'
            )
            for number in range(6)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 5
    (landed,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert (await stage.http.get(f"{stage.api}/posts/{post['id']}")).json() == landed


async def test_a_removed_post_is_gone_from_every_surface(stage: Stage) -> None:
    await stage.publish(body="stays")
    start = (await stage.http.get(f"{stage.api}/posts")).json()["cursor"]
    post = await stage.publish(body="unsayable", headline="unsayable", tags=["unsayable"])
    await stage.call(
        stage.owner, "PATCH", f"posts/{post['id']}", {"body": "unsayable 2"}, If_Match='"1"'
    )

    assert (await stage.call(stage.owner, "DELETE", f"posts/{post['id']}")).status_code == 204

    assert_problem(await stage.http.get(f"{stage.api}/posts/{post['id']}"), 404)
    for path in (
        f"{stage.api}/posts",
        f"{stage.api}/entries?after={start}",
        f"{stage.api}/entries?after={start}&format=html",
        f"/{stage.slug}/feed.atom",
        f"/{stage.slug}/feed.json",
    ):
        answer = await stage.http.get(path)
        assert answer.status_code == 200
        assert "unsayable" not in answer.text
    entries = (await stage.http.get(f"{stage.api}/entries?after={start}")).json()["entries"]
    assert [entry["offset"] for entry in entries] == [2, 3, 4]
    assert entries[-1]["action"] == "retract"
    assert {entry["id"] for entry in entries} == {post["id"]}


async def test_what_was_removed_cannot_be_changed_or_removed_again(stage: Stage) -> None:
    post = await stage.publish()
    await stage.call(stage.owner, "DELETE", f"posts/{post['id']}")
    before = await stage.seen()

    edit = await stage.call(
        stage.owner, "PATCH", f"posts/{post['id']}", {"body": "x"}, If_Match='"1"'
    )
    assert_problem(edit, 404)
    assert_problem(await stage.call(stage.owner, "DELETE", f"posts/{post['id']}"), 404)

    assert await stage.seen() == before


async def test_a_post_is_found_only_in_its_own_blog(stage: Stage) -> None:
    post = await stage.publish()
    other = await stage.another()

    for method, headers in (("GET", {}), ("PATCH", {"If_Match": '"1"'}), ("DELETE", {})):
        body = {"body": "x"} if method == "PATCH" else None
        answer = await other.call(stage.owner, method, f"posts/{post['id']}", body, **headers)
        assert_problem(answer, 404)


# -- pages of posts and entries


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_pages_cover_every_post_once(stage: Stage, limit: int) -> None:
    ids = [(await stage.publish(body=str(number)))["id"] for number in range(7)]
    await stage.call(stage.owner, "DELETE", f"posts/{ids.pop(2)}")
    await stage.call(
        stage.owner, "PATCH", f"posts/{ids[0]}", {"body": "moves nowhere"}, If_Match='"1"'
    )
    found: list[str] = []
    before: int | None = None
    for _ in range(8):
        page = await stage.http.get(
            f"{stage.api}/posts", params={"limit": limit, **({"before": before} if before else {})}
        )
        assert len(page.json()["posts"]) <= limit
        found += [post["id"] for post in page.json()["posts"]]
        before = page.json()["next"]
        if before is None:
            break

    assert found == list(reversed(ids))


async def test_a_page_and_its_cursor_are_of_one_moment(stage: Stage) -> None:
    await stage.publish(body="one")
    page = (await stage.http.get(f"{stage.api}/posts")).json()
    await stage.publish(body="two")

    answer = (await stage.http.get(f"{stage.api}/entries?after={page['cursor']}")).json()

    assert [entry["post"]["body"] for entry in answer["entries"]] == ["two"]
    assert (page["offset"], answer["offset"], answer["resumed"]) == (1, 2, True)


@pytest.mark.parametrize("name, value", [
    ("limit", "0"), ("limit", "101"), ("limit", "-1"), ("limit", "1.5"), ("limit", "ten"),
    ("limit", ""), ("limit", "1e1"), ("limit", "٣"), ("limit", "9" * 400), ("limit", "+1"),
    ("limit", " 1"), ("before", "0"), ("before", "-1"), ("before", "x"), ("before", ""),
    ("before", "9" * 400), ("before", str(2**63)),
])  # fmt: skip
async def test_a_wrong_number_in_the_address_is_422(stage: Stage, name: str, value: str) -> None:
    assert_invalid(await stage.http.get(f"{stage.api}/posts", params={name: value}), name)


async def test_entries_without_a_cursor_start_at_the_head(stage: Stage) -> None:
    await stage.publish()
    head = (await stage.http.get(f"{stage.api}/posts")).json()

    answer = (await stage.http.get(f"{stage.api}/entries")).json()

    assert answer == {
        "entries": [],
        "cursor": head["cursor"],
        "offset": head["offset"],
        "resumed": True,
    }


async def test_entries_are_those_of_the_stream(stage: Stage) -> None:
    start = (await stage.http.get(f"{stage.api}/posts")).json()["cursor"]
    post = await stage.publish()

    answer = (await stage.http.get(f"{stage.api}/entries?after={start}")).json()

    assert answer["entries"] == [
        {
            "type": "entry",
            "offset": 1,
            "cursor": answer["cursor"],
            "action": "publish",
            "post": post,
        }
    ]


async def test_no_more_than_500_entries_come_at_once(stage: Stage) -> None:
    start = (await stage.http.get(f"{stage.api}/posts")).json()["cursor"]
    for batch in range(0, 510, 30):
        await asyncio.gather(*(stage.publish(body=str(batch + n)) for n in range(30)))

    first = (await stage.http.get(f"{stage.api}/entries?after={start}")).json()
    second = (await stage.http.get(f"{stage.api}/entries?after={first['cursor']}")).json()

    assert [entry["offset"] for entry in first["entries"]] == list(range(1, 501))
    assert [entry["offset"] for entry in second["entries"]] == list(range(501, 511))
    assert (first["offset"], second["offset"]) == (500, 510)


async def test_a_waiting_reader_is_answered_when_something_happens(stage: Stage) -> None:
    start = (await stage.http.get(f"{stage.api}/posts")).json()["cursor"]
    waiting = asyncio.create_task(
        stage.http.get(f"{stage.api}/entries?after={start}&wait=25", timeout=20)
    )
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done, "it answered before there was anything"

    await stage.publish(body="at last")

    answer = await waiting
    assert [entry["post"]["body"] for entry in answer.json()["entries"]] == ["at last"]


@pytest.mark.parametrize("wait", ["-1", "nan", "soon", "", "1;2", "1 2"])
async def test_a_wrong_wait_is_422(stage: Stage, wait: str) -> None:
    assert_invalid(await stage.http.get(f"{stage.api}/entries", params={"wait": wait}), "wait")


async def test_a_cursor_that_is_none_starts_afresh(stage: Stage) -> None:
    await stage.publish()
    other = await stage.another()
    await other.publish()
    foreign = (await other.http.get(f"{other.api}/posts")).json()["cursor"]
    head = (await stage.http.get(f"{stage.api}/posts")).json()["cursor"]
    epoch, offset, tag = head.split(".")

    for cursor in (
        foreign,
        f"{epoch}.{offset}.{tag[::-1]}x",
        f"{epoch}.{int(offset) + 5}.{tag}",
        "",
        "nonsense",
        "..",
        "x" * 5000,
        "\x00",
        "é.1.é",
        f"{epoch}.-1.{tag}",
        f"{epoch}.{'9' * 30}.{tag}",
    ):
        answer = await stage.http.get(f"{stage.api}/entries", params={"after": cursor, "wait": 5})
        assert answer.status_code == 200
        assert answer.json() == {"entries": [], "cursor": head, "offset": 1, "resumed": False}


# -- idempotency


async def test_the_same_key_and_content_answer_as_the_first_time(stage: Stage) -> None:
    ana = await stage.player("reporter")
    first = await stage.call(ana, "POST", "posts", {"body": "Once"}, Idempotency_Key="k1")
    again = await stage.call(
        ana, "POST", "posts", {"body": " Once\n", "kind": "update"}, Idempotency_Key="k1"
    )

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert len((await stage.http.get(f"{stage.api}/posts")).json()["posts"]) == 1


async def test_a_replay_answers_as_the_first_time_also_after_an_edit(stage: Stage) -> None:
    first = await stage.call(stage.owner, "POST", "posts", {"body": "Once"}, Idempotency_Key="k1")
    await stage.call(
        stage.owner, "PATCH", f"posts/{first.json()['id']}", {"body": "Edited"}, If_Match='"1"'
    )

    again = await stage.call(stage.owner, "POST", "posts", {"body": "Once"}, Idempotency_Key="k1")

    assert (again.status_code, again.json()) == (201, first.json())


@pytest.mark.parametrize(
    "other", [{"body": "Other"}, {"body": "Once", "key": True}, {"body": "Once", "tags": ["a"]}]
)
async def test_the_same_key_with_other_content_is_422_and_the_first_stands(
    stage: Stage, other: dict[str, Any]
) -> None:
    first = await stage.call(stage.owner, "POST", "posts", {"body": "Once"}, Idempotency_Key="k1")
    before = await stage.seen()

    answer = await stage.call(stage.owner, "POST", "posts", other, Idempotency_Key="k1")

    assert_problem(answer, 422)
    assert await stage.seen() == before
    assert before["posts"] == [first.json()]


async def test_a_key_of_a_removed_post_is_410_with_the_id_and_no_words(stage: Stage) -> None:
    body = {"body": "unsayable"}
    first = await stage.call(stage.owner, "POST", "posts", body, Idempotency_Key="k1")
    await stage.call(stage.owner, "DELETE", f"posts/{first.json()['id']}")
    before = await stage.seen()

    answer = await stage.call(stage.owner, "POST", "posts", body, Idempotency_Key="k1")

    assert assert_problem(answer, 410)["id"] == first.json()["id"]
    assert "unsayable" not in answer.text
    assert await stage.seen() == before


async def test_a_key_is_a_persons_own_and_a_blogs_own(stage: Stage) -> None:
    ana, ben = await stage.player("reporter", "Ana"), await stage.player("reporter", "Ben")
    other = await stage.another()

    answers = [
        await where.call(who, "POST", "posts", {"body": str(number)}, Idempotency_Key="same")
        for number, (where, who) in enumerate(
            [(stage, ana), (stage, ben), (stage, stage.owner), (other, stage.owner)]
        )
    ]

    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.json()["id"] for answer in answers}) == 4


async def test_without_a_key_a_post_is_taken_each_time(stage: Stage) -> None:
    one, two = await stage.publish(body="Twice"), await stage.publish(body="Twice")

    assert one["id"] != two["id"]


async def test_the_same_key_ten_times_at_once_is_one_post(stage: Stage) -> None:
    answers = await asyncio.gather(
        *(
            stage.call(stage.owner, "POST", "posts", {"body": "Once"}, Idempotency_Key="k1")
            for _ in range(10)
        )
    )

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len((await stage.http.get(f"{stage.api}/posts")).json()["posts"]) == 1


@pytest.mark.parametrize("key", ["k", "a b", "~!@#$%^&*()", '"quoted"', "x" * 128])
async def test_a_key_is_1_to_128_printable_characters(stage: Stage, key: str) -> None:
    first = await stage.call(stage.owner, "POST", "posts", {"body": "x"}, Idempotency_Key=key)
    again = await stage.call(stage.owner, "POST", "posts", {"body": "x"}, Idempotency_Key=key)

    assert (first.status_code, again.json()) == (201, first.json())


@pytest.mark.parametrize("key", [b"", b"x" * 129, b"a\tb", "é".encode(), b"\xff", b"\x7f"])
async def test_any_other_key_is_422(stage: Stage, key: bytes) -> None:
    before = await stage.seen()

    answer = await stage.http.post(
        f"{stage.api}/posts",
        json={"body": "x"},
        headers=[
            (b"Authorization", f"Bearer {stage.owner.token}".encode()),
            (b"Idempotency-Key", key),
        ],
    )

    # A control character ends the request before it reaches us.
    assert answer.status_code == 422 or (key == b"\x7f" and answer.status_code == 400)
    assert await stage.seen() == before


# -- invitations, joining, people


async def test_an_invitation_has_its_defaults_and_its_link(stage: Stage) -> None:
    made = await stage.call(stage.owner, "POST", "invitations", {})

    invitation = made.json()
    expires = datetime.fromisoformat(invitation["expires_at"])
    assert (made.status_code, invitation["role"], invitation["uses"]) == (201, "reporter", 1)
    assert invitation["url"] == f"{stage.server.url}/join#{invitation['secret']}"
    assert abs(expires - datetime.now(UTC) - timedelta(days=7)) < timedelta(minutes=1)


@pytest.mark.parametrize("role", ["contributor", "reporter", "editor"])
async def test_an_invitation_gives_its_role_in_its_blog_only(stage: Stage, role: str) -> None:
    ana = await stage.player(role, "  Ana\n María ")

    me = (await stage.call(ana, "GET", "/api/me")).json()

    assert me == {"person": {"id": ana.id, "name": "Ana María"}, "roles": {stage.slug: role}}


async def test_joining_answers_the_person_and_where_to_go(stage: Stage) -> None:
    for role, onward in (("reporter", f"/{stage.slug}/write"), ("contributor", f"/{stage.slug}")):
        answer = await stage.call(
            NOBODY, "POST", "/api/join", {"secret": await stage.secret(role), "name": "Ana"}
        )
        assert answer.status_code == 200
        assert answer.json()["next"] == onward
        assert answer.json()["person"]["name"] == "Ana"


async def test_the_owners_token_opens_every_blog(stage: Stage) -> None:
    boss = await stage.joined(stage.server.owner_token, "Boss")

    me = (await stage.call(boss, "GET", "/api/me")).json()
    assert me["person"]["name"] == "Boss"
    assert me["roles"][stage.slug] == me["roles"]["live"] == "owner"
    assert (await stage.publish(boss))["author"]["name"] == "Boss"


async def test_uses_are_counted(stage: Stage) -> None:
    secret = await stage.secret(uses=2)
    joining = {"secret": secret, "name": "Ana"}

    answers = await asyncio.gather(
        *(stage.call(NOBODY, "POST", "/api/join", joining) for _ in range(6))
    )

    assert sorted(answer.status_code for answer in answers) == [200, 200, 401, 401, 401, 401]
    people = (await stage.call(stage.owner, "GET", "people")).json()["people"]
    assert len(people) == 2


async def test_an_invitation_expires(stage: Stage) -> None:
    secret = await stage.secret(expires_in_seconds=1, uses=1000)

    async def dead() -> bool:
        answer = await stage.call(NOBODY, "POST", "/api/join", {"secret": secret, "name": "Ana"})
        return answer.status_code == 401

    await eventually(dead, 5, every_seconds=0.2)


async def test_a_retry_under_the_same_key_does_not_use_it_up_twice(stage: Stage) -> None:
    secret = await stage.secret(uses=1)

    first = await stage.joined(secret, Idempotency_Key="k1")
    again = await stage.joined(secret, Idempotency_Key="k1")

    assert again.id == first.id
    assert again.token != first.token, "a session's secret is never kept, so it can't be repeated"
    assert len((await stage.call(stage.owner, "GET", "people")).json()["people"]) == 1
    other = {"secret": secret, "name": "Eve"}
    assert_problem(await stage.call(NOBODY, "POST", "/api/join", other, Idempotency_Key="k2"), 401)


async def test_the_same_key_under_another_name_is_422_and_lets_nobody_in(stage: Stage) -> None:
    secret = await stage.secret(uses=3)
    ann = await stage.joined(secret, "Ann", Idempotency_Key="same")

    bob = {"secret": secret, "name": "Bob"}
    answer = await stage.call(NOBODY, "POST", "/api/join", bob, Idempotency_Key="same")

    assert_problem(answer, 422)
    assert "set-cookie" not in answer.headers
    people = (await stage.call(stage.owner, "GET", "people")).json()["people"]
    assert [each["id"] for each in people] == [ann.id]


async def test_a_retry_does_not_bring_back_who_was_removed(stage: Stage) -> None:
    secret = await stage.secret(uses=1)
    ana = await stage.joined(secret, Idempotency_Key="k1")
    await stage.call(stage.owner, "DELETE", f"people/{ana.id}")

    again = await stage.call(
        NOBODY, "POST", "/api/join", {"secret": secret, "name": "Ana"}, Idempotency_Key="k1"
    )

    assert_problem(again, 401)


@pytest.mark.parametrize(
    "change",
    [
        lambda secret: secret[:-1],
        lambda secret: secret + "x",
        lambda secret: secret[:-1] + ("a" if secret[-1] != "a" else "b"),
        lambda secret: secret.rpartition(".")[0] + ".",
        lambda secret: "live" + secret[secret.index(".") :],
        lambda secret: secret.replace(".", "..", 1),
        lambda secret: secret.upper(),
        lambda _: "",
        lambda _: ".",
        lambda _: "..",
        lambda _: "a.b.c",
        lambda _: "x" * 10_000,
        lambda _: "live}:people.x.y",
        lambda _: "\x00.\x00.\x00",
        lambda _: "é.ü.ß",
    ],
)
async def test_a_secret_that_is_none_is_401(stage: Stage, change: Callable[[str], str]) -> None:
    secret = await stage.secret()

    answer = await stage.call(
        NOBODY, "POST", "/api/join", {"secret": change(secret), "name": "Eve"}
    )

    assert_problem(answer, 401)
    assert "set-cookie" not in answer.headers
    assert (await stage.joined(secret)).id, "a wrong guess uses nothing up"


async def test_a_revoked_invitation_is_dead_and_so_are_its_sessions(stage: Stage) -> None:
    made = (await stage.call(stage.owner, "POST", "invitations", {"uses": 5})).json()
    ana = await stage.joined(made["secret"], "Ana")
    ben = await stage.player("reporter", "Ben")

    revoked = await stage.call(stage.owner, "DELETE", f"invitations/{made['id']}")

    assert revoked.status_code == 204
    assert_problem(await stage.call(ana, "GET", "/api/me"), 401)
    assert_problem(await stage.call(ana, "POST", "posts", {"body": "x"}), 401)
    assert (await stage.call(ben, "POST", "posts", {"body": "x"})).status_code == 201
    dead = {"secret": made["secret"], "name": "Ana"}
    assert_problem(await stage.call(NOBODY, "POST", "/api/join", dead), 401)
    assert_problem(await stage.call(stage.owner, "DELETE", f"invitations/{made['id']}"), 404)


async def test_an_invitation_is_revoked_only_in_its_own_blog(stage: Stage) -> None:
    made = (await stage.call(stage.owner, "POST", "invitations", {})).json()
    other = await stage.another()

    assert_problem(await other.call(stage.owner, "DELETE", f"invitations/{made['id']}"), 404)
    assert (await stage.joined(made["secret"])).id


async def test_the_team_is_listed_as_they_came(stage: Stage) -> None:
    made = (await stage.call(stage.owner, "POST", "invitations", {"role": "editor"})).json()
    ana = await stage.joined(made["secret"], "Ana")
    ben = await stage.player("reporter", "Ben")

    people = (await stage.call(ana, "GET", "people")).json()["people"]

    assert [(person["name"], person["role"]) for person in people] == [
        ("Ana", "editor"),
        ("Ben", "reporter"),
    ]
    assert [person["id"] for person in people] == [ana.id, ben.id]
    assert people[0]["invitation"] == made["id"]
    assert set(people[0]) == {"id", "name", "role", "joined_at", "invitation"}
    assert made["secret"] not in str(people)


async def test_a_removed_person_loses_everything_at_once(stage: Stage) -> None:
    ana = await stage.player("editor")
    post = await stage.publish(ana)

    assert (await stage.call(stage.owner, "DELETE", f"people/{ana.id}")).status_code == 204

    assert_problem(await stage.call(ana, "POST", "posts", {"body": "x"}), 401)
    assert_problem(await stage.call(ana, "DELETE", f"posts/{post['id']}"), 401)
    assert_problem(await stage.call(ana, "GET", "/api/me"), 401)
    assert_problem(await stage.call(stage.owner, "DELETE", f"people/{ana.id}"), 404)
    assert (await stage.http.get(f"{stage.api}/posts/{post['id']}")).status_code == 200


async def test_a_removal_from_one_blog_is_none_from_another_nor_of_the_owner(
    stage: Stage,
) -> None:
    async def joins(secret: str, player: Player) -> Player:
        body = {"secret": secret, "name": "Olga"}
        cookie = {"Origin": stage.server.url, **player.cookie()}
        return signed_in(await stage.call(NOBODY, "POST", "/api/join", body, **cookie))

    second = await stage.another()
    link = await stage.secret(uses=5)
    ana = await joins(await second.secret(), await stage.joined(link))
    olga = await joins(stage.server.owner_token, await stage.joined(link))
    editor = await stage.player("editor")

    for gone in (ana, olga):
        assert (await stage.call(editor, "DELETE", f"people/{gone.id}")).status_code == 204

    # Out of this blog at once, and still who they are in what is left to them.
    assert_problem(await stage.call(ana, "POST", "posts", {"body": "x"}), 403)
    assert (await second.call(ana, "POST", "posts", {"body": "x"})).status_code == 201
    assert (await stage.call(olga, "POST", "posts", {"body": "x"})).status_code == 201
    # And not back in by the link that they came by.
    body = {"secret": link, "name": "Ana"}
    cookie = {"Origin": stage.server.url, **ana.cookie()}
    assert_problem(await stage.call(NOBODY, "POST", "/api/join", body, **cookie), 401)


async def test_a_role_changes_at_once(stage: Stage) -> None:
    ana = await stage.player("reporter")

    changed = await stage.call(stage.owner, "PATCH", f"people/{ana.id}", {"role": "editor"})

    assert changed.status_code == 200
    assert changed.json()["role"] == "editor"
    assert (await stage.call(ana, "GET", "people")).status_code == 200
    await stage.call(stage.owner, "PATCH", f"people/{ana.id}", {"role": "contributor"})
    assert_problem(await stage.call(ana, "POST", "posts", {"body": "x"}), 403)


async def test_somebody_unknown_is_404(stage: Stage) -> None:
    stranger = await stage.player("stranger")

    for id in (stranger.id, "nobody", "x" * 3000):
        assert_problem(
            await stage.call(stage.owner, "PATCH", f"people/{id}", {"role": "editor"}), 404
        )
        assert_problem(await stage.call(stage.owner, "DELETE", f"people/{id}"), 404)


async def test_who_is_signed_in_stays_who_they_are_in_another_blog(stage: Stage) -> None:
    ana = await stage.player("reporter", "Ana")
    other = await stage.another()

    answer = await stage.call(
        NOBODY,
        "POST",
        "/api/join",
        {"secret": await other.secret("editor"), "name": "Other name"},
        Origin=stage.server.url,
        **ana.cookie(),
    )

    after = signed_in(answer)
    me = (await stage.call(after, "GET", "/api/me")).json()
    assert me["person"] == {"id": ana.id, "name": "Ana"}
    assert me["roles"] == {stage.slug: "reporter", other.slug: "editor"}
    # The session before is over: one browser, one session.
    assert_problem(await stage.call(ana, "GET", "/api/me"), 401)


async def test_an_invitation_never_lowers_a_role(stage: Stage) -> None:
    ana = await stage.player("editor", "Ana")

    answer = await stage.call(
        NOBODY,
        "POST",
        "/api/join",
        {"secret": await stage.secret("contributor"), "name": "Ana"},
        Origin=stage.server.url,
        **ana.cookie(),
    )

    me = (await stage.call(signed_in(answer), "GET", "/api/me")).json()
    assert me["roles"] == {stage.slug: "editor"}


async def test_logging_out_ends_this_session_and_no_other(stage: Stage) -> None:
    secret = await stage.secret(uses=2)
    one = await stage.joined(secret, Idempotency_Key="k")
    two = await stage.joined(secret, Idempotency_Key="k")
    assert one.id == two.id

    answer = await stage.call(
        NOBODY, "POST", "/api/logout", Origin=stage.server.url, **one.cookie()
    )

    assert answer.status_code == 204
    assert "max-age=0" in answer.headers["set-cookie"].lower()
    assert_problem(await stage.call(one, "GET", "/api/me"), 401)
    assert (await stage.call(two, "GET", "/api/me")).status_code == 200


# -- another site's page


@pytest.mark.parametrize(
    "origin, status",
    [
        ("own", 201),
        ("OWN", 201),
        (None, 403),
        ("null", 403),
        ("", 403),
        ("https://evil.example", 403),
        ("http://127.0.0.1", 403),
        ("http://127.0.0.1:1", 403),
        ("http://localhost", 403),
        ("own.evil.example", 403),
        ("file://", 403),
        ("javascript:alert(1)", 403),
        ("http://[", 403),
    ],
)
async def test_a_change_with_the_cookie_comes_from_our_own_pages(
    stage: Stage, origin: str | None, status: int
) -> None:
    ana = await stage.player("reporter")
    before = await stage.seen()
    named = {
        "own": stage.server.url,
        "OWN": stage.server.url.upper(),
        "own.evil.example": f"{stage.server.url}.evil.example",
    }
    headers = {} if origin is None else {"Origin": named.get(origin, origin)}

    answer = await stage.call(NOBODY, "POST", "posts", {"body": "x"}, **headers, **ana.cookie())

    assert answer.status_code == status, answer.text
    if status == 403:
        assert_problem(answer, 403)
        assert await stage.seen() == before


@pytest.mark.parametrize(
    "call", [call for call in CALLS if call.method != "GET"], ids=lambda call: call.name
)
async def test_every_change_is_guarded(stage: Stage, call: Call) -> None:
    scene = await set_scene(stage)
    boss = await stage.joined(stage.server.owner_token, "Boss")
    before = await stage.seen()
    path = call.path(scene)

    for origin in ({}, {"Origin": "https://evil.example"}):
        answer = await stage.call(
            NOBODY, call.method, path, call.body, **dict(call.headers), **origin, **boss.cookie()
        )
        assert_problem(answer, 403)

    assert await stage.seen() == before
    assert (await stage.call(boss, "GET", "/api/me")).status_code == 200


async def test_a_token_needs_no_origin_and_a_read_none_either(stage: Stage) -> None:
    ana = await stage.player("reporter")

    bearer = await stage.call(ana, "POST", "posts", {"body": "x"}, Origin="https://evil.example")
    read = await stage.call(NOBODY, "GET", "/api/me", Origin="https://evil.example", **ana.cookie())

    assert (bearer.status_code, read.status_code) == (201, 200)
    assert "access-control-allow-origin" not in read.headers


async def test_an_empty_token_is_no_way_around_the_guard(stage: Stage) -> None:
    ana = await stage.player("reporter")

    answer = await stage.call(
        NOBODY, "POST", "posts", {"body": "x"}, Authorization="", **ana.cookie()
    )

    assert_problem(answer, 403)


async def test_another_site_signs_nobody_in(stage: Stage) -> None:
    secret = await stage.secret()

    answer = await stage.call(
        NOBODY,
        "POST",
        "/api/join",
        {"secret": secret, "name": "Eve"},
        Origin="https://evil.example",
    )

    assert_problem(answer, 403)
    assert "set-cookie" not in answer.headers
    assert (await stage.joined(secret)).id, "the invitation wasn't used"


async def test_a_dead_cookie_is_as_good_as_none(stage: Stage) -> None:
    dead = Player(token="dead")

    read = await stage.call(NOBODY, "GET", "posts", **dead.cookie())
    write = await stage.call(
        NOBODY, "POST", "posts", {"body": "x"}, Origin=stage.server.url, **dead.cookie()
    )

    assert read.status_code == 200
    assert_problem(write, 401)


# -- cookies, public address, secrets


def attributes(cookie: str) -> tuple[str, set[str]]:
    pair, *rest = cookie.split(";")
    return pair.partition("=")[0], {each.strip().lower() for each in rest}


async def test_a_session_cookie_over_http(stage: Stage) -> None:
    answer = await stage.call(
        NOBODY, "POST", "/api/join", {"secret": await stage.secret(), "name": "Ana"}
    )

    name, rest = attributes(answer.headers["set-cookie"])
    assert name == "liveblog_session"
    assert {"httponly", "samesite=lax", "path=/"} <= rest
    assert "secure" not in rest
    assert not any(each.startswith("domain") for each in rest)


@asynccontextmanager
async def public(tmp_path: Path, **env: str) -> AsyncIterator[Stage]:
    async with Server(tmp_path, env=env) as server, forgetful_client(server.url) as http:
        yield Stage(server, http)


async def test_under_a_public_https_address_everything_is_named_by_it(tmp_path: Path) -> None:
    origin = "https://live.example.org"
    async with public(tmp_path, LIVEBLOG_PUBLIC_URL=f"{origin}/") as stage:
        made = (await stage.call(stage.owner, "POST", "invitations", {})).json()
        answer = await stage.call(
            NOBODY, "POST", "/api/join", {"secret": made["secret"], "name": "Ana"}, Origin=origin
        )
        name, rest = attributes(answer.headers["set-cookie"])
        ana = signed_in(answer)
        cookie = ana.cookie("__Host-liveblog_session")

        assert made["url"] == f"{origin}/join#{made['secret']}"
        assert name == "__Host-liveblog_session"
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= rest
        assert not any(each.startswith("domain") for each in rest)

        own = await stage.call(NOBODY, "POST", "posts", {"body": "x"}, Origin=origin, **cookie)
        assert own.status_code == 201
        assert own.json()["url"].startswith(f"{origin}/live/posts/")
        with_port = f"{origin}:443"
        same = await stage.call(NOBODY, "POST", "posts", {"body": "x"}, Origin=with_port, **cookie)
        assert same.status_code == 201
        for foreign in (stage.server.url, "http://live.example.org", f"{origin}:8443"):
            answer = await stage.call(
                NOBODY, "POST", "posts", {"body": "x"}, Origin=foreign, **cookie
            )
            assert_problem(answer, 403)
        # A cookie that a network could have set over http counts for nothing here.
        plain = await stage.call(
            NOBODY, "POST", "posts", {"body": "x"}, Origin=origin, **ana.cookie()
        )
        assert_problem(plain, 401)
        spoofed = await stage.http.get("/api/blogs/live", headers={"Host": "evil.example"})
        assert spoofed.json()["url"] == f"{origin}/live"


async def test_behind_a_trusted_proxy_its_https_is_ours(tmp_path: Path) -> None:
    async with public(tmp_path, LIVEBLOG_TRUSTED_PROXIES="1") as stage:
        secret = await stage.secret()
        answer = await stage.call(
            NOBODY,
            "POST",
            "/api/join",
            {"secret": secret, "name": "Ana"},
            Host="live.example.org",
            X_Forwarded_Proto="https",
            Origin="https://live.example.org",
        )

        assert answer.status_code == 200
        name, rest = attributes(answer.headers["set-cookie"])
        assert (name, "secure" in rest) == ("__Host-liveblog_session", True)


@pytest.mark.parametrize(
    "said, logged",
    [
        ("198.51.100.7", "198.51.100.7"),
        ("spoofed, 198.51.100.7", "198.51.100.7"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("x" * 5_000, "127.0.0.1"),
        ("unknown", "127.0.0.1"),
    ],
)
async def test_what_a_proxy_says_of_a_client_is_an_address_or_nothing(
    tmp_path: Path, said: str, logged: str
) -> None:
    async with public(tmp_path, LIVEBLOG_TRUSTED_PROXIES="1") as stage:
        await stage.http.get("/healthz", headers={"X-Forwarded-For": said})

        line = [line for line in stage.server.log.splitlines() if "/healthz" in line][-1]
        assert f'"client":"{logged}"' in line


@pytest.mark.parametrize(
    "path, led_to",
    [
        ("/live/", "/live"),
        ("/live//", "/live"),
        ("//live/", "/live"),
        ("/live/screen/?x=y", "/live/screen?x=y"),
        ("/api/blogs/", "/api/blogs"),
    ],
)
async def test_a_slash_too_many_leads_to_the_path_and_to_no_host(
    stage: Stage, path: str, led_to: str
) -> None:
    answer = await stage.http.get(
        f"{stage.server.url}{path}", headers={"Host": "evil.example"}, follow_redirects=False
    )

    assert answer.status_code == 307
    assert answer.headers["location"] == led_to


async def test_a_slash_behind_nothing_is_404(stage: Stage) -> None:
    assert (await stage.http.get("/a/b/c/d/")).status_code == 404


async def test_without_a_trusted_proxy_nobody_says_who_they_are(stage: Stage) -> None:
    answer = await stage.http.get(
        stage.api, headers={"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    )

    assert answer.json()["url"].startswith(stage.server.url)


async def test_a_frames_address_is_never_another_readers_host(tmp_path: Path) -> None:
    """Frames are encoded once for all; one reader's made-up `Host` must not reach another."""
    async with public(tmp_path) as stage:
        start = (await stage.http.get(f"{stage.api}/posts")).json()["cursor"]
        await stage.publish()
        path = f"{stage.api}/entries?after={start}"
        for number in range(20):
            await stage.http.get(path, headers={"Host": f"evil-{number}.example"})

        mine = (await stage.http.get(path, headers={"Host": "hall.example"})).json()

        assert "evil" not in str(mine)
        assert mine["entries"][0]["post"]["url"].endswith(
            "/live/posts/" + mine["entries"][0]["post"]["id"]
        )


async def stored(redis: Redis, key: bytes) -> bytes:
    """All that a key holds, as it was written."""
    match await redis.type(key):
        case b"string":
            return repr(await redis.get(key)).encode()
        case b"hash":
            return repr(await redis.hgetall(key)).encode()
        case b"set":
            return repr(await redis.smembers(key)).encode()
        case b"zset":
            return repr(await redis.zrange(key, 0, -1)).encode()
        case b"none":
            return b""  # Kept for a while only, and that has just ended.
        case kind:
            raise AssertionError(f"{key!r} is a {kind!r}; look into it here too")


async def test_no_secret_is_kept_in_clear_or_logged(stage: Stage) -> None:
    secret = await stage.secret("reporter", uses=3, name="For Ana")
    ana = await stage.joined(secret, "Ana", Idempotency_Key="joining-key")
    boss = await stage.joined(stage.server.owner_token, "Boss")
    await stage.call(ana, "POST", "posts", {"body": "x"}, Idempotency_Key="posting-key")
    await stage.call(NOBODY, "GET", "posts", **ana.cookie())
    hidden = {
        "invitation": secret.rpartition(".")[2],
        "session": ana.token,
        "owner's session": boss.token,
        "owner": stage.server.owner_token,
    }
    url = running_url(stage.server.data)
    assert url is not None

    redis: Redis = Redis.from_url(url)
    content = b"".join(
        [key + await stored(redis, key) async for key in redis.scan_iter(count=1000)]
    )
    await redis.aclose()

    assert ana.id.encode() in content, "the scan looked at nothing"
    for what, word in hidden.items():
        assert word.encode() not in content, f"the store has the {what}'s secret"
        assert word not in stage.server.log, f"the log has the {what}'s secret"


# -- addresses


@pytest.mark.parametrize(
    "call",
    [call for call in CALLS if call.name not in EVERYWHERE],
    ids=lambda call: call.name,
)
@pytest.mark.parametrize("role", ["anonymous", "stranger", "owner"])
async def test_a_blog_that_is_not_there_is_404_to_all(stage: Stage, call: Call, role: str) -> None:
    who = await stage.player(role)
    scene = Scene(stage, {"id": "x"}, "x", Player(id="x"))
    for slug in ("no-such-blog", "api", "NoSuchBlog", "x"):
        path = f"/api/blogs/{slug}/{call.path(scene)}".rstrip("/")

        answer = await stage.call(who, call.method, path, call.body, **dict(call.headers))

        assert_problem(answer, 404)


@pytest.mark.parametrize("path", ["/api", "/api/nothing", "/api/blogs/live/nothing"])
async def test_an_address_of_nothing_is_404(house: Stage, path: str) -> None:
    assert_problem(await house.http.get(path), 404)


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        ("PUT", "/api/blogs", {"GET", "HEAD", "POST"}),
        ("DELETE", "/api/blogs/live", {"GET", "HEAD", "PATCH"}),
        ("PUT", "/api/blogs/live/posts/x", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("GET", "/api/join", {"POST"}),
        ("POST", "/api/me", {"GET", "HEAD"}),
        ("PATCH", "/healthz", {"GET", "HEAD"}),
        ("BREW", "/api/blogs", {"GET", "HEAD", "POST"}),
    ],
)
async def test_another_method_is_405_and_says_which_it_takes(
    house: Stage, method: str, path: str, allowed: set[str]
) -> None:
    answer = await house.http.request(method, path)

    if method == "BREW":
        assert answer.status_code in {400, 405}
        return
    assert_problem(answer, 405)
    assert answer.headers["allow"] == ", ".join(sorted(allowed))


async def test_head_is_get_without_a_body(stage: Stage) -> None:
    for path in (stage.api, f"{stage.api}/posts", "/api/blogs", "/healthz", "/readyz"):
        head, get = await stage.http.head(path), await stage.http.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == get.headers["content-length"]


# -- operators


async def test_health_readiness_and_metrics(stage: Stage) -> None:
    await stage.http.get(f"{stage.api}/entries")

    health, ready, metrics = [
        await stage.http.get(path) for path in ("/healthz", "/readyz", "/metrics")
    ]

    assert (health.status_code, ready.status_code, metrics.status_code) == (200, 200, 200)
    assert ready.json()["ready"] is True
    assert ready.json()["durability"] == "fsync"
    assert set(ready.json()) == {"ready", "store", "durability", "release"}
    assert metrics.headers["content-type"].startswith("text/plain")
    assert re.search(r"^liveblog_viewers 0\.0$", metrics.text, re.MULTILINE)
    assert stage.server.owner_token not in metrics.text + ready.text


async def test_something_broken_of_ours_is_500_and_says_no_more(tmp_path: Path) -> None:
    async with Server(tmp_path) as server, forgetful_client(server.url) as http:
        url = running_url(server.data)
        assert url is not None
        redis: Redis = Redis.from_url(url)
        await redis.set("lb:{live}:blog", b"not what we wrote")
        await redis.aclose()

        answer = await http.get("/api/blogs/live")

        problem = assert_problem(answer, 500)
        assert "not what we wrote" not in problem["detail"]
        assert "JSON" not in answer.text
        assert "content-security-policy" in answer.headers
        assert (await http.get("/healthz")).status_code == 200
        lines = await eventually(
            lambda: [line for line in server.log.splitlines() if '"status":500' in line]
        )
        assert len(lines) == 1
