"""Ready bytes and closed ranges of the log, as a crowd and a cache in between get them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from websockets.asyncio.client import connect

from liveblog.delivery.hub import RING_FRAMES
from liveblog.store.log import Log, Operation
from liveblog.web.api import ENTRIES_MOST
from tests.integration.cast import Stage, assert_invalid, assert_problem
from tests.support import Server, eventually
from tests.worlds import a_post, connected, meddling, store_url

CROWD = 200


def surfaces(stage: Stage) -> list[str]:
    slug = stage.slug
    return [f"/{slug}", f"{stage.api}/posts", f"/{slug}/feed.atom", f"/{slug}/feed.json"]


async def range_of(stage: Stage, after: str, format: str = "json") -> str:
    """The address under which the entries after a cursor can be kept, as the server tells it."""
    answer = await stage.http.get(f"{stage.api}/entries?after={after}&format={format}")
    found = re.fullmatch(r'<(.+)>; rel="duplicate"', answer.headers["link"])
    assert found is not None
    return found[1]


async def cursor_of(stage: Stage) -> str:
    return str((await stage.http.get(f"{stage.api}/posts")).json()["cursor"])


# A process asks by itself how many read and whether its rings are whole; never by these.
SNAPSHOT = ("zcard",)
READING = ("evalsha_ro", "get", "hget")


@asynccontextmanager
async def commands(server: Server, names: tuple[str, ...]) -> AsyncIterator[list[int]]:
    """How many such commands the store was given within the block."""
    async with meddling(store_url(server)) as redis:

        async def given() -> int:
            stats = await redis.info("commandstats")
            return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in names)

        counted: list[int] = []
        before = await given()
        yield counted
        counted.append(await given() - before)


# -- what a cache in between is told


async def test_a_shared_answer_may_be_kept_for_a_second_and_asked_about_by_its_tag(
    stage: Stage,
) -> None:
    await stage.publish(body="words")
    for path in surfaces(stage)[1:]:  # A page says what o'clock it is: it is a new one each second.
        answer = await stage.http.get(path)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=1", path
        vary = {name.strip().lower() for name in answer.headers["vary"].split(",")}
        assert vary == {"accept-encoding", "cookie", "authorization"}, path

        again = await stage.http.get(path, headers={"If-None-Match": answer.headers["etag"]})

        assert (again.status_code, again.content) == (304, b""), path
        assert again.headers["etag"] == answer.headers["etag"]
        assert again.headers["cache-control"] == "public, max-age=1"
        assert "content-length" not in again.headers
        await stage.publish(body="more words")
        changed = await stage.http.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert changed.status_code == 200, path


async def test_a_page_is_tagged_and_kept_likewise(stage: Stage) -> None:
    async def unchanged() -> bool:
        page = await stage.http.get(f"/{stage.slug}")
        assert page.headers["cache-control"] == "public, max-age=1"
        again = await stage.http.get(
            f"/{stage.slug}", headers={"If-None-Match": page.headers["etag"]}
        )
        return again.status_code == 304

    await eventually(unchanged, 20)  # Where no second ended between the two.


async def test_compressed_and_plain_are_the_same_words(stage: Stage) -> None:
    await stage.publish(body="words " * 400)
    for path in surfaces(stage):

        async def same(path: str = path) -> bool:
            plain = await stage.http.get(path, headers={"Accept-Encoding": "identity"})
            packed = await stage.http.get(path, headers={"Accept-Encoding": "gzip"})
            assert "content-encoding" not in plain.headers
            assert packed.headers["content-encoding"] == "gzip"
            assert plain.headers["etag"] != packed.headers["etag"]
            assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])
            return plain.content == packed.content

        await eventually(same, 20)


async def test_the_head_alone_can_be_asked_for(stage: Stage) -> None:
    await stage.publish(body="words")
    for path in surfaces(stage)[1:]:
        whole = await stage.http.get(path)
        head = await stage.http.head(path)

        assert (head.status_code, head.content) == (200, b"")
        for name in ("etag", "cache-control", "content-type", "content-length", "vary"):
            assert head.headers.get(name) == whole.headers.get(name), f"{path}: {name}"
    assert (await stage.http.head(f"/{stage.slug}")).status_code == 200


async def test_a_ready_answer_is_guarded_like_all_others(stage: Stage) -> None:
    for _ in range(2):  # The one that is made, and the one that is ready.
        for path in surfaces(stage):
            answer = await stage.http.get(path)
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"


# -- never older than what is known


async def test_what_this_process_changed_shows_in_the_next_answer(stage: Stage) -> None:
    for number in range(5):
        post = await stage.publish(body=f"before{number}", headline="Now")
        for path in surfaces(stage):
            assert f"before{number}" in (await stage.http.get(path)).text, path

        path = f"posts/{post['id']}"
        body = {"body": f"after{number}"}
        changed = await stage.call(stage.owner, "PATCH", path, body, If_Match='"1"')
        assert changed.status_code == 200
        for path in surfaces(stage):
            text = (await stage.http.get(path)).text
            assert f"after{number}" in text, path
            assert f"before{number}" not in text, path

    await stage.call(stage.owner, "PATCH", "", {"title": "Another title"})
    assert "Another title" in (await stage.http.get(f"/{stage.slug}")).text


async def test_what_is_taken_back_is_gone_from_the_next_answer(stage: Stage) -> None:
    start = await cursor_of(stage)
    for number in range(5):
        post = await stage.publish(body=f"secret{number}")
        paths = [*surfaces(stage), await range_of(stage, start)]
        for path in paths:
            assert f"secret{number}" in (await stage.http.get(path)).text, path

        await stage.call(stage.owner, "DELETE", f"posts/{post['id']}")

        for path in paths:
            answer = await stage.http.get(path)
            assert (answer.status_code, "secret" in answer.text) == (200, False), path


async def test_what_another_process_posts_shows_as_soon_as_it_is_heard(stage: Stage) -> None:
    await stage.publish(body="first")
    for path in surfaces(stage):
        await stage.http.get(path)
    async with Server(
        stage.server.directory / "other", env={"REDIS_URL": store_url(stage.server)}
    ) as other:
        assert (await other.post("from elsewhere", blog=stage.slug)).status_code == 201

        async def shown() -> bool:
            texts = [(await stage.http.get(path)).text for path in surfaces(stage)]
            return all("from elsewhere" in text for text in texts)

        await eventually(shown)


async def test_who_posted_without_script_sees_it_on_the_page(stage: Stage) -> None:
    ana = await stage.player("reporter")
    for number in range(5):
        sent = await stage.http.post(
            f"/{stage.slug}/write",
            data={"body": f"mine{number}"},
            headers={**ana.cookie(), "Origin": stage.server.url},
        )
        assert sent.status_code == 303
        assert (
            f"mine{number}" in (await stage.http.get(f"/{stage.slug}", headers=ana.cookie())).text
        )


# -- never another's


async def test_who_is_signed_in_and_who_is_not_never_get_one_anothers(stage: Stage) -> None:
    ana = await stage.player("reporter")
    for _ in range(3):
        anonymous = await stage.http.get(f"/{stage.slug}")
        own = await stage.http.get(f"/{stage.slug}", headers=ana.cookie())

        assert f"/{stage.slug}/write" not in anonymous.text
        assert f"/{stage.slug}/write" in own.text
        assert own.headers["cache-control"] == "private, no-cache"
        assert "cookie" in own.headers["vary"]
        assert "etag" not in own.headers
    by_token = await stage.call(ana, "GET", "posts")
    assert by_token.headers["cache-control"] == "private, no-cache"


async def test_each_host_is_answered_with_its_own_address(stage: Stage) -> None:
    await stage.publish(body="words")
    for _ in range(2):
        for host in ("one.example", "two.example:8080"):
            for path in surfaces(stage):
                text = (await stage.http.get(path, headers={"Host": host})).text
                other = {"one.example": "two.example", "two.example:8080": "one.example"}[host]
                assert f"http://{host}/" in text, path
                assert other not in text, path


async def test_a_query_is_answered_for_itself(stage: Stage) -> None:
    ids = [(await stage.publish(body=f"post {number}"))["id"] for number in range(3)]
    whole = await stage.http.get(f"{stage.api}/posts")
    one = await stage.http.get(f"{stage.api}/posts?limit=1")

    assert [post["id"] for post in whole.json()["posts"]] == ids[::-1]
    assert [post["id"] for post in one.json()["posts"]] == ids[2:]
    assert one.headers["cache-control"] == "no-store"
    assert "etag" not in one.headers
    older = await stage.http.get(f"/{stage.slug}?before=2")
    assert older.headers["cache-control"] == "no-cache"
    assert ids[2] not in older.text


# -- storms


async def test_a_crowd_that_comes_at_once_costs_the_store_next_to_nothing(stage: Stage) -> None:
    await stage.publish(body="words")
    for path in surfaces(stage):
        await stage.http.get(path)

        async with commands(stage.server, SNAPSHOT) as counted:
            answers = await asyncio.gather(*(stage.http.get(path) for _ in range(CROWD)))

        assert {answer.status_code for answer in answers} == {200}
        assert all("words" in answer.text for answer in answers)
        # One a second, however long this takes here.
        assert counted[0] < CROWD / 10, f"{path}: {counted[0]} snapshots"


async def test_older_pages_are_read_from_the_store_each(stage: Stage) -> None:
    """The control: commands are counted where there are any."""
    await stage.http.get(f"/{stage.slug}")

    async with commands(stage.server, SNAPSHOT) as counted:
        await asyncio.gather(
            *(stage.http.get(f"/{stage.slug}?before={place + 1}") for place in range(CROWD))
        )

    assert counted[0] >= CROWD


async def test_a_hall_that_comes_back_at_once_costs_the_store_nothing(stage: Stage) -> None:
    start = await cursor_of(stage)
    for number in range(3):
        await stage.publish(body=f"post {number}")
    address = f"{stage.server.websocket_url}/{stage.slug}/live?after={start}"
    async with AsyncExitStack() as hall:

        async def twenty_come() -> None:
            sockets = await asyncio.gather(
                *(
                    hall.enter_async_context(connect(address, proxy=None, open_timeout=30))
                    for _ in range(20)
                )
            )
            heard = await asyncio.gather(*(socket.recv() for socket in sockets))
            assert all('"resumed":true' in str(frame) for frame in heard)

        await twenty_come()  # To each process somebody: the first there opens the blog's channel.
        async with commands(stage.server, READING) as counted:
            for _ in range(CROWD // 20):
                await twenty_come()

        assert counted[0] == 0


# -- closed ranges of the log


async def test_a_closed_range_is_what_was_answered_and_may_be_kept_for_four_seconds(
    stage: Stage,
) -> None:
    start = await cursor_of(stage)
    for number in range(5):
        await stage.publish(body=f"post {number} " + "words " * 300)
    for format in ("json", "html"):
        open_ended = await stage.http.get(f"{stage.api}/entries?after={start}&format={format}")
        path = await range_of(stage, start, format)

        closed = await stage.http.get(path)

        assert closed.content == open_ended.content
        assert closed.json()["resumed"] is True
        assert closed.headers["cache-control"] == "public, max-age=4"
        assert closed.headers["content-type"] == "application/json"
        assert closed.headers["content-encoding"] == "gzip"
        again = await stage.http.get(path, headers={"If-None-Match": closed.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        head = await stage.http.head(f"{stage.api}/entries?after={start}&format={format}")
        assert head.headers["link"] == open_ended.headers["link"]


async def test_a_closed_range_stays_what_it_is_while_the_log_goes_on(stage: Stage) -> None:
    start = await cursor_of(stage)
    await stage.publish(body="one")
    path = await range_of(stage, start)
    before = await stage.http.get(path)

    await stage.publish(body="two")

    after = await stage.http.get(path)
    assert (after.content, after.headers["etag"]) == (before.content, before.headers["etag"])
    follow = await stage.http.get(f"{stage.api}/entries?after={after.json()['cursor']}")
    assert [entry["post"]["body"] for entry in follow.json()["entries"]] == ["two"]


async def test_where_nothing_follows_there_is_no_range(stage: Stage) -> None:
    answer = await stage.http.get(f"{stage.api}/entries?after={await cursor_of(stage)}")

    assert "link" not in answer.headers


async def test_a_part_of_a_range_is_a_range(stage: Stage) -> None:
    start = await cursor_of(stage)
    for number in range(4):
        await stage.publish(body=f"post {number}")
    entries = (await stage.http.get(f"{stage.api}/entries?after={start}")).json()["entries"]
    epoch, offset, tag = entries[2]["cursor"].split(".")

    part = await stage.http.get(f"{stage.api}/entries/{epoch}/2-{offset}-{tag}")

    assert part.json()["entries"] == entries[1:3]
    assert part.json()["cursor"] == entries[2]["cursor"]


async def test_what_is_no_place_of_this_log_is_404_and_nothing_to_be_kept(stage: Stage) -> None:
    start = await cursor_of(stage)
    for number in range(3):
        await stage.publish(body=f"post {number}")
    path = await range_of(stage, start)
    epoch, last = path.split("/")[-2:]
    tag = last.split("-")[2]
    other = await stage.another()
    wrong = [
        f"{stage.api}/entries/{epoch}/1-3-{'0' * len(tag)}",
        f"{stage.api}/entries/{epoch}/1-2-{tag}",
        f"{stage.api}/entries/{epoch}/1-4-{tag}",
        f"{stage.api}/entries/{'0' * len(epoch)}/1-3-{tag}",
        f"{other.api}/entries/{epoch}/1-3-{tag}",
        f"/api/blogs/no-such-blog/entries/{epoch}/1-3-{tag}",
        f"{stage.api}/entries/{epoch}/1-3",
    ]
    for address in wrong:
        assert_problem(await stage.http.get(address), 404)
    assert (await stage.http.get(path)).status_code == 200


@pytest.mark.parametrize(
    "ends, field",
    [
        ("0-3", "from"),
        ("-1-3", "from"),
        ("x-3", "from"),
        ("1-x", "to"),
        ("1--3", "from"),
        ("3-1", "to"),
        (f"1-{ENTRIES_MOST + 1}", "to"),
        ("1-99999999999999999999", "to"),
    ],
)
async def test_what_is_no_range_is_said_so(stage: Stage, ends: str, field: str) -> None:
    epoch, _, tag = (await cursor_of(stage)).split(".")

    assert_invalid(await stage.http.get(f"{stage.api}/entries/{epoch}/{ends}-{tag}"), field)


async def test_a_range_is_served_whether_the_ring_reaches_it_or_only_the_store(
    stage: Stage,
) -> None:
    start = await cursor_of(stage)
    async with connected(store_url(stage.server)) as connection:
        cursors = await filled(Log(connection), stage.slug, 2 * RING_FRAMES + 100)
    await eventually_at(stage, cursors[-1])
    async with commands(stage.server, READING) as from_store:
        oldest = await stage.http.get(await range_of(stage, start))

    assert from_store[0] >= 1, "or this counts nothing"
    assert [entry["cursor"] for entry in oldest.json()["entries"]] == cursors[:ENTRIES_MOST]
    newest = cursors[-21]
    async with commands(stage.server, READING) as from_ring:
        path = await range_of(stage, newest)
        for _ in range(20):
            answer = await stage.http.get(path)
            assert [entry["cursor"] for entry in answer.json()["entries"]] == cursors[-20:]
    assert from_ring[0] == 0


async def test_a_range_that_was_trimmed_is_404(stage: Stage) -> None:
    start = await cursor_of(stage)
    async with connected(store_url(stage.server)) as connection:
        log = Log(connection, keep=5)
        cursors = await filled(log, stage.slug, 1)
        first = await range_of(stage, start)
        assert (await stage.http.get(first)).status_code == 200
        cursors += await filled(log, stage.slug, 2 * RING_FRAMES + 100)  # And out of the ring.
    await eventually_at(stage, cursors[-1])

    assert_problem(await stage.http.get(first), 404)


async def filled(log: Log, slug: str, count: int) -> list[str]:
    """The cursors of so many posts, put into the log past any server."""
    made = []
    for number in range(count):
        appended = await log.publish(a_post(slug, f"post {number}"), Operation.once())
        made.append(str(appended.entry.cursor))
    return made


async def eventually_at(stage: Stage, cursor: str) -> None:
    async def there() -> bool:
        answer = await stage.http.get(f"{stage.api}/entries")
        return bool(answer.json()["cursor"] == cursor)

    await eventually(there, 20)
