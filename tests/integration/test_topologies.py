"""On a cluster, and under Sentinels, all is as with one server: posts, people, the stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from liveblog.domain.errors import Unavailable
from liveblog.store import topology
from liveblog.store.connection import Connection, StoreRefused
from liveblog.store.keys import BlogKeys
from liveblog.store.log import Log, Operation
from tests.integration.cast import NOBODY, Stage, assert_problem, forgetful_client
from tests.integration.test_cli import run
from tests.oracle import Truth, Watcher, all_hold
from tests.support import RedisServer, Server, eventually, free_port
from tests.topologies import Cluster, Node, Sentinels, slot_of
from tests.worlds import a_blog, a_post, connected, valkey_program, whole_log

Several = Cluster | Sentinels


@pytest.fixture(scope="module", params=[Cluster, Sentinels])
async def several(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Several]:
    async with request.param(tmp_path_factory.mktemp("several")) as started:
        yield started


@pytest.fixture(scope="module")
async def house(several: Several, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("house")
    async with (
        Server(folder, env={"REDIS_URL": several.url}) as server,
        forgetful_client(server.url) as http,
    ):
        yield Stage(server, http)


@asynccontextmanager
async def spread(several: Several, log: Log, count: int = 12) -> AsyncIterator[list[str]]:
    """Blogs that lie, on a cluster, on all of its primaries."""
    slugs = []
    for _ in range(count):
        blog = a_blog()
        await log.create(blog)
        slugs.append(blog.slug)
    if isinstance(several, Cluster):
        homes = {(await several.primary_of(slug)).port for slug in slugs}
        assert len(homes) == 3, "they lie together by chance"
    yield slugs


async def test_it_is_ready_and_says_that_replicas_confirm(house: Stage, several: Several) -> None:
    ready = (await house.http.get("/readyz")).json()

    assert ready["ready"]
    assert ready["durability"] == "replicated"
    assert ready["store"].endswith(", 3 primaries") == isinstance(several, Cluster)


async def test_blogs_on_all_servers_are_listed_and_their_heads_told(several: Several) -> None:
    async with connected(several.url) as connection:
        log = Log(connection)
        async with spread(several, log) as slugs:
            for slug in slugs:
                await log.publish(a_post(slug), Operation.once())

            listed = {blog.slug for blog in await log.blogs()}
            heads = await log.heads([*slugs, "no-such-blog"])

    assert set(slugs) <= listed
    assert {slug: head and head.offset for slug, head in heads.items()} == {
        **dict.fromkeys(slugs, 1),
        "no-such-blog": None,
    }


async def test_a_post_is_published_edited_replayed_and_retracted(house: Stage) -> None:
    stage = await house.another()
    first = await stage.call(
        stage.owner, "POST", "posts", {"body": "Doors open"}, Idempotency_Key="k"
    )
    again = await stage.call(
        stage.owner, "POST", "posts", {"body": "Doors open"}, Idempotency_Key="k"
    )
    id = first.json()["id"]
    edited = await stage.call(
        stage.owner, "PATCH", f"posts/{id}", {"body": "Doors shut"}, If_Match='"1"'
    )
    page = (await stage.http.get(f"{stage.api}/posts")).json()
    gone = await stage.call(stage.owner, "DELETE", f"posts/{id}")
    entries = (await stage.http.get(f"{stage.api}/entries?after={page['cursor']}")).json()

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
    assert edited.status_code == 200
    assert [post["body"] for post in page["posts"]] == ["Doors shut"]
    assert gone.status_code == 204
    assert [(each["action"], each["id"]) for each in entries["entries"]] == [("retract", id)]


async def test_people_are_invited_join_write_and_are_removed(house: Stage) -> None:
    stage = await house.another()
    ana = await stage.player("reporter", "Ana")
    await stage.publish(ana, "by Ana")
    me = (await stage.call(ana, "GET", "/api/me")).json()
    removed = await stage.call(stage.owner, "DELETE", f"people/{ana.id}")
    after = await stage.call(ana, "GET", "/api/me")

    assert me["roles"] == {stage.slug: "reporter"}
    assert removed.status_code == 204
    assert_problem(after, 401)


async def test_what_is_posted_through_one_process_is_read_live_through_another(
    house: Stage, several: Several, tmp_path: Path
) -> None:
    stages = [await house.another() for _ in range(6)]
    async with Server(tmp_path, env={"REDIS_URL": several.url}) as other:
        watchers = [Watcher(other.url, stage.slug) for stage in stages]
        for watcher in watchers:
            await watcher.__aenter__()
        try:
            await eventually(lambda: all(each.is_following for each in watchers), 20)
            for number in range(5):
                await asyncio.gather(*(stage.publish(body=f"post {number}") for stage in stages))
            for stage, watcher in zip(stages, watchers, strict=True):
                truth = await Truth.of(several.url, stage.slug)
                # Well before the heads are compared anyway.
                await all_hold([watcher], truth.head, 2)
                truth.check(watcher)
                assert watcher.joins == 1
        finally:
            for watcher in watchers:
                await watcher.stop()


async def test_a_doctor_finds_all_good(several: Several) -> None:
    code, out, err = await run(
        "doctor",
        "--redis-url",
        several.url,
        env={"LIVEBLOG_PUBLIC_URL": "https://live.example.org"},
    )

    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["good"] * 5
    assert several.url in lines[0]
    assert "replicated, 1 of 1 replicas confirm each write" in lines[1]


async def test_the_command_line_posts(house: Stage, several: Several) -> None:
    stage = await house.another()

    code, out, _ = await run("post", stage.slug, "from here", "--redis-url", several.url)

    assert code == 0
    assert f"/{stage.slug}/posts/" in out
    page = (await stage.http.get(f"{stage.api}/posts")).json()
    assert [post["body"] for post in page["posts"]] == ["from here"]


async def test_the_snapshot_and_the_backlog_of_a_page_agree(house: Stage) -> None:
    stage = await house.another()
    for number in range(3):
        await stage.publish(body=f"post {number}")

    page = await stage.http.get(f"/{stage.slug}")
    feed = await stage.http.get(f"/{stage.slug}/feed.json")
    nobody = await stage.call(NOBODY, "POST", "posts", {"body": "x"})

    assert all(f"post {number}" in page.text for number in range(3))
    assert len(feed.json()["items"]) == 3
    assert_problem(nobody, 401)


# -- what replicas confirm


async def waits_on_its_own(node: Node, key: str) -> int:
    """What a connection that only reads is told by WAIT, whatever others wrote before."""
    redis: Any = Redis(port=node.port)
    try:
        async with redis.pipeline(transaction=False) as pipe:
            pipe.execute_command("HGETALL", key)
            pipe.execute_command("WAIT", 1, 200)
            return int((await pipe.execute())[1])
    finally:
        await redis.aclose()


async def test_a_repetition_isnt_acknowledged_before_a_replica_has_the_first(
    tmp_path: Path,
) -> None:
    async with (
        Sentinels(tmp_path) as several,
        connected(several.url) as first,
        connected(several.url) as second,
    ):
        blog = a_blog()
        await Log(first).create(blog)
        for connection in (first, second):
            await Log(connection).publish(a_post(blog.slug), Operation.once())
        primary = await several.primary()
        replica = await several.replica_of(primary)
        post, operation = a_post(blog.slug), Operation.keyed("ana", "k", b"words")
        replica.freeze()
        try:
            with pytest.raises(Unavailable) as refused:
                await Log(first).publish(post, operation)
            # Its own connection wrote nothing, so that the wait alone would tell nothing.
            told = await waits_on_its_own(primary, BlogKeys(blog.slug).head)
            with pytest.raises(Unavailable) as again:
                await Log(second).publish(post, operation)
        finally:
            replica.thaw()

        async def taken() -> bool:
            try:
                return (await Log(second).publish(post, operation)).replayed
            except Unavailable:
                return False

        await eventually(taken, 20)
        _, entries = await whole_log(Log(first), blog.slug)

    assert told == 1, "or the repetition would have been refused without a further write"
    for why in (refused.value, again.value):
        assert why.state == "takes no writes: too few replicas confirm them"
    assert [entry.post_id for entry in entries].count(post.id) == 1


async def test_replicas_may_be_promised_behind_one_address(tmp_path: Path) -> None:
    async with RedisServer(tmp_path, program=valkey_program()) as redis:
        code, out, _ = await run("doctor", "--redis-url", redis.url, env={"LIVEBLOG_REPLICAS": "1"})

    assert code == 1
    assert "takes no writes: too few replicas confirm them" in out


async def test_nothing_is_promised_where_that_is_said(several: Several) -> None:
    connection = Connection(several.url, replicas=0)
    try:
        assert (await connection.look()).durability == "fsync"
    finally:
        await connection.close()


# -- slots that move


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


async def test_a_connection_follows_a_slot_that_has_moved(cluster: Cluster) -> None:
    async with connected(cluster.url) as connection:
        log, blog = Log(connection), a_blog()
        await log.create(blog)
        before = await cluster.primary_of(blog.slug)
        await log.publish(a_post(blog.slug), Operation.once())
        await cluster.move_slot(blog.slug, await cluster.another_than(before))

        assert (await log.heads([blog.slug]))[blog.slug] is not None
        again = await log.publish(a_post(blog.slug), Operation.once())
        assert again.entry.offset == 2
        assert (await connection.primary_of(BlogKeys(blog.slug).head)).url.find(
            str((await cluster.primary_of(blog.slug)).port)
        ) > 0


async def test_what_a_node_is_about_to_get_is_asked_for_there(cluster: Cluster) -> None:
    """In the midst of a move, all keys are gone and the slot isn't yet."""
    async with connected(cluster.url) as connection:
        log, blog = Log(connection), a_blog()
        await log.create(blog)
        await log.publish(a_post(blog.slug, "kept"), Operation.once())
        source = await cluster.primary_of(blog.slug)
        target = await cluster.another_than(source)
        slot = slot_of(blog.slug)
        await target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", await cluster._id(source))
        await source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", await cluster._id(target))
        keys = await source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100)
        await source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *keys)

        read = await log.backlog(blog.slug, 0)
        told = await log.blog(blog.slug)
        head = (await log.heads([blog.slug]))[blog.slug]
        # The operation's own key is at neither end, and so an append has to wait for the end.
        with pytest.raises(Unavailable) as refused:
            await log.publish(a_post(blog.slug), Operation.once())
        appending = asyncio.ensure_future(log.publish(a_post(blog.slug), Operation.once()))
        for node in (target, source):
            await node.ask("CLUSTER", "SETSLOT", slot, "NODE", await cluster._id(target))
        appended = await appending

    assert [entry.post and entry.post.body for entry in read.entries] == ["kept"]
    assert told.slug == blog.slug
    assert head == read.head
    assert refused.value.state == "moves this to another node"
    assert appended.entry.offset == 2


async def test_a_viewer_goes_on_while_slots_move(cluster: Cluster, tmp_path: Path) -> None:
    async with connected(cluster.url) as connection:
        blog = a_blog()
        await Log(connection).create(blog)
    async with (
        Server(tmp_path, env={"REDIS_URL": cluster.url}) as server,
        Watcher(server.url, blog.slug) as watcher,
    ):
        await eventually(lambda: watcher.is_following)
        for move in (cluster.move_slot, cluster.move_slot_at_once):
            to = await cluster.another_than(await cluster.primary_of(blog.slug))
            await move(blog.slug, to)
            await eventually(partial(cluster.listeners, to, blog.slug), 10)
            assert (await server.post("moved", blog=blog.slug)).status_code == 201
            truth = await Truth.of(cluster.url, blog.slug)
            # Well before the heads are compared anyway.
            await all_hold([watcher], truth.head, 2)
            truth.check(watcher)
        assert watcher.joins == 1


# -- addresses that name something else


async def test_a_server_that_is_no_cluster_is_refused_as_one(tmp_path: Path) -> None:
    async with RedisServer(tmp_path, program=valkey_program()) as redis:
        async with connected(f"redis+cluster://127.0.0.1:{redis.port}") as connection:
            with pytest.raises(StoreRefused, match=r"there is no cluster.* redis://"):
                await connection.look()
        async with connected(f"redis+sentinel://127.0.0.1:{redis.port}/live") as connection:
            with pytest.raises(StoreRefused, match="a server and no Sentinel"):
                await connection.look()


async def test_a_node_of_a_cluster_is_refused_as_a_server_of_its_own(cluster: Cluster) -> None:
    async with connected(cluster.nodes[0].url) as connection:
        with pytest.raises(StoreRefused, match=r"a node of a cluster.*redis\+cluster://"):
            await connection.look()


async def test_a_service_that_no_sentinel_watches_is_refused(several: Several) -> None:
    if isinstance(several, Sentinels):
        url = several.url.replace("/liveblog", "/another")
        async with connected(url) as connection:
            with pytest.raises(StoreRefused, match="watch no service of that name"):
                await connection.look()


@pytest.mark.parametrize("form", ["redis+cluster://{}", "redis+sentinel://{}/live"])
async def test_nobody_there_is_unavailable(form: str) -> None:
    url = form.format(f"127.0.0.1:{free_port()},127.0.0.1:{free_port()}")
    async with connected(url) as connection:
        with pytest.raises(Unavailable) as silent:
            await connection.look()
        with pytest.raises(Unavailable):
            await Log(connection).blogs()

    assert silent.value.is_silent


async def test_a_sentinel_that_is_frozen_or_gone_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sentinels(tmp_path) as several, connected(several.url) as connection:
        frozen, gone, _ = several.sentinels
        frozen.freeze()
        await gone.kill()
        try:
            await connection.look()
            log, blog = Log(connection), a_blog()
            await log.create(blog)
        finally:
            frozen.thaw()
        for sentinel in several.sentinels:
            await sentinel.kill()
        # Nobody tells any more where the primary is; it is where it was.
        monkeypatch.setattr(topology, "FIND_PAUSE_SECONDS", 0.0)
        connection.doubt()
        await log.publish(a_post(blog.slug), Operation.once())
        assert (await connection.look()).durability == "replicated"
