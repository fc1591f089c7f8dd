"""A blog's log and what is read from it: append, backlog, snapshot, heads."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec

from liveblog.domain.blog import Blog
from liveblog.domain.cursor import Cursor
from liveblog.domain.entry import Entry, EntryAction
from liveblog.domain.errors import (
    Conflict,
    FieldError,
    Gone,
    Invalid,
    KeyReused,
    NotFound,
    Stale,
    Unavailable,
)
from liveblog.domain.post import Post
from liveblog.store.connection import CANT_TAKE, Connection, Script
from liveblog.store.keys import BLOGS, BlogKeys

ENTRIES_KEPT = 10_240
BACKLOG_MOST = 500
MOMENTS_MOST = 100
KEY_REMEMBERED_SECONDS = 8 * 24 * 3600
OPERATION_REMEMBERED_SECONDS = 120
VIEWERS_LEASE_SECONDS = 15

_APPEND = Script.load("append", "write")
_CREATE = Script.load("create", "write")
_VIEWERS = Script.load("viewers", "lease")
_BACKLOG = Script.load("backlog", "read")
_SNAPSHOT = Script.load("snapshot", "read")


@dataclass(frozen=True, slots=True)
class Operation:
    """One change, by whatever name its sender will repeat it; a repetition changes nothing."""

    name: str
    fingerprint: str
    remembered_seconds: int

    @classmethod
    def keyed(cls, person_id: str, key: str, content: bytes) -> Operation:
        """The operation that a person's `Idempotency-Key` names."""
        name = sha256(f"{person_id} {key}".encode()).hexdigest()[:32]
        return cls(name, sha256(content).hexdigest()[:32], KEY_REMEMBERED_SECONDS)

    @classmethod
    def once(cls) -> Operation:
        """An operation that only the client library may repeat."""
        return cls(secrets.token_hex(16), "-", OPERATION_REMEMBERED_SECONDS)


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a change stands in the log, and whether it stood there before."""

    entry: Entry
    replayed: bool


@dataclass(frozen=True, slots=True)
class Announced:
    """An entry as the store announces it: with the tag of the one before."""

    entry: Entry
    previous: str


@dataclass(frozen=True, slots=True)
class Backlog:
    """The entries after an offset. `after` is None where the log holds nothing at that offset."""

    head: Cursor
    after: Cursor | None
    entries: tuple[Entry, ...]
    blog: Blog


@dataclass(frozen=True, slots=True)
class Placed:
    """A post and the offset of its publication."""

    post: Post
    offset: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Posts, newest first, and the cursor to go on from: both of one moment."""

    blog: Blog
    cursor: Cursor
    posts: tuple[Placed, ...]
    older: int | None
    moments: tuple[Placed, ...]
    posts_count: int
    people_count: int


class _Stored(msgspec.Struct, omit_defaults=True):
    action: EntryAction
    id: str | None = None
    post: Post | None = None
    blog: Blog | None = None


_encode = msgspec.json.Encoder().encode
_stored = msgspec.json.Decoder(_Stored).decode
_post = msgspec.json.Decoder(Post).decode
_blog = msgspec.json.Decoder(Blog).decode


class Log:
    """The logs of all blogs. Reading is one script and so of one moment; so is changing.

    `on_appended` is called with the blog's slug after each change that was made through here,
    before whoever made it knows; `on_retracted` after each retraction.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        keep: int = ENTRIES_KEPT,
        on_appended: Callable[[str], None] | None = None,
        on_retracted: Callable[[], None] | None = None,
    ) -> None:
        self._connection = connection
        self._keep = keep
        self._on_appended = on_appended
        self._on_retracted = on_retracted

    async def create(self, blog: Blog) -> None:
        """Raises: Conflict where the slug is taken."""
        keys = BlogKeys(blog.slug)
        # Listed first: a blog that exists is never missing from the list.
        await self._connection.tell("SADD", BLOGS, blog.slug)
        epoch = secrets.token_hex(5)
        made = await self._connection.run(
            _CREATE, [keys.head, keys.blog, keys.tags], [epoch, _encode(blog)]
        )
        if not made:
            raise Conflict(f"There is a blog at /{blog.slug} already; take another slug.")

    async def blogs(self) -> list[Blog]:
        slugs = sorted(slug.decode() for slug in await self._connection.ask("SMEMBERS", BLOGS))
        found = await self._connection.ask_all("GET", [BlogKeys(slug).blog for slug in slugs])
        for body in found:
            if isinstance(body, Unavailable):
                raise body
        return [_blog(body) for body in found if body]

    async def blog(self, slug: str) -> Blog:
        """Raises: NotFound."""
        body = await self._connection.ask("GET", BlogKeys(slug).blog)
        if body is None:
            raise _no_blog(slug)
        return _blog(body)

    async def post(self, slug: str, id: str) -> Post:
        """Raises: NotFound."""
        body = await self._connection.ask("HGET", BlogKeys(slug).posts, id)
        if body is None:
            raise NotFound("There is no such post; it may have been removed.")
        return _post(body)

    async def publish(self, post: Post, operation: Operation) -> Appended:
        """Put a new post into its blog's log.

        Raises: KeyReused, Gone; NotFound where the blog is gone.
        """
        return await self._append(
            post.blog, EntryAction.PUBLISH, operation, id=post.id, post=post, revision=post.revision
        )

    async def edit(self, post: Post, operation: Operation) -> Appended:
        """Put the next revision of a post into the log.

        Raises: Stale where another revision than the one before stands; NotFound.
        """
        return await self._append(
            post.blog,
            EntryAction.EDIT,
            operation,
            id=post.id,
            post=post,
            expected=str(post.revision - 1),
            revision=post.revision,
        )

    async def retract(self, post: Post, operation: Operation) -> Appended:
        """Take a post out of everything: its entries in the log lose their words as well.

        Raises: NotFound.
        """
        appended = await self._append(
            post.blog, EntryAction.RETRACT, operation, id=post.id, author=post.author.id
        )
        if self._on_retracted is not None:
            self._on_retracted()
        return appended

    async def change(self, blog: Blog, operation: Operation) -> Appended:
        """Put the next revision of a blog into its log. Raises: Stale, NotFound."""
        return await self._append(
            blog.slug,
            EntryAction.BLOG,
            operation,
            blog=blog,
            expected=str(blog.revision - 1),
            revision=blog.revision,
        )

    async def _append(
        self,
        slug: str,
        action: EntryAction,
        operation: Operation,
        *,
        id: str = "",
        post: Post | None = None,
        blog: Blog | None = None,
        expected: str = "",
        revision: int = 0,
        author: str = "",
    ) -> Appended:
        keys = BlogKeys(slug)
        words = _encode(_Stored(action=action, id=id or None, post=post, blog=blog))
        answer = await self._connection.run(
            _APPEND,
            [
                keys.head,
                keys.log,
                keys.tags,
                keys.posts,
                keys.revisions,
                keys.order,
                keys.moments,
                keys.trails,
                keys.blog,
                keys.givers,
                keys.done(operation.name),
            ],
            [
                action,
                id,
                words,
                _encode(post or blog) if post or blog else b"",
                expected,
                revision,
                "1" if post and post.key else "0",
                author or (post.author.id if post else ""),
                operation.fingerprint,
                operation.remembered_seconds,
                self._keep,
                keys.channel,
            ],
        )
        if self._on_appended is not None:
            self._on_appended(slug)
        match answer:
            case [b"appended", offset, tag, epoch, _]:
                cursor = Cursor(epoch.decode(), int(offset), tag.decode())
                return Appended(Entry(cursor, action, id or None, post, blog), replayed=False)
            case [b"replayed", offset, tag, epoch, found, stored, present]:
                cursor = Cursor(epoch.decode(), int(offset), (tag or b"0").decode())
                entry = self._replay(action, cursor, found.decode(), stored, present)
                return Appended(entry, replayed=True)
            case [b"reused"]:
                raise KeyReused(
                    "This Idempotency-Key was used for other content, which stands as it was. "
                    "Send the new content under a new key."
                )
            case [b"stale", stands]:
                raise Stale(
                    f"Revision {stands.decode()} stands meanwhile. Load it and change that."
                )
            case [b"gone"]:
                raise NotFound("There is no such post; it may have been removed.")
            case [b"absent"]:
                raise _no_blog(slug)
        raise Unavailable(CANT_TAKE, state="answers in riddles", reason=repr(answer))

    def _replay(
        self,
        action: EntryAction,
        cursor: Cursor,
        id: str,
        stored: bytes | None,
        present: bytes | None,
    ) -> Entry:
        # The log's own entry is the first answer; a retraction since took its words.
        entry = _entry(cursor, stored) if stored else Entry(cursor, action, id)
        if entry.post or entry.blog or action in (EntryAction.RETRACT, EntryAction.BLOG):
            return entry
        if not present:
            raise Gone("This post was published and has been removed since.", id)
        return Entry(cursor, action, id, _post(present))

    async def backlog(self, slug: str, after: int, most: int = BACKLOG_MOST) -> Backlog:
        """The entries after an offset, at most `most`; below 0, the newest ones.

        Raises: NotFound.
        """
        keys = BlogKeys(slug)
        answer = await self._connection.run(
            _BACKLOG, [keys.head, keys.log, keys.tags, keys.blog], [after, most]
        )
        if not answer:
            raise _no_blog(slug)
        epoch, offset, tag, _floor, at, at_tag, stored, tags, blog = answer
        epoch = epoch.decode()
        at = int(at)
        return Backlog(
            Cursor(epoch, int(offset), tag.decode()),
            Cursor(epoch, at, at_tag.decode()) if at_tag else None,
            tuple(
                _entry(Cursor(epoch, place, mark.decode()), body)
                for place, body, mark in zip(
                    range(at + 1, at + 1 + len(stored)), stored, tags, strict=True
                )
            )
            if at_tag
            else (),
            _blog(blog),
        )

    async def snapshot(self, slug: str, *, limit: int, before: int | None = None) -> Snapshot:
        """The newest posts, or those published before an offset, and the cursor to go on from.

        Raises: NotFound.
        """
        keys = BlogKeys(slug)
        answer = await self._connection.run(
            _SNAPSHOT,
            [keys.head, keys.blog, keys.posts, keys.order, keys.moments, keys.givers],
            [limit + 1, f"({before}" if before is not None else "+inf", MOMENTS_MOST],
        )
        if not answer:
            raise _no_blog(slug)
        epoch, offset, tag, blog, page, moments, posts_count, people_count = answer
        posts = _placed(page)
        return Snapshot(
            _blog(blog),
            Cursor(epoch.decode(), int(offset), tag.decode()),
            posts[:limit],
            posts[limit - 1].offset if len(posts) > limit else None,
            _placed(moments),
            int(posts_count),
            int(people_count),
        )

    async def heads(self, slugs: Sequence[str]) -> dict[str, Cursor | None]:
        """The head of each blog, None where there is no such blog.

        Those whose server doesn't answer are left out.
        """
        found = await self._connection.ask_all(
            "HMGET", [BlogKeys(slug).head for slug in slugs], "epoch", "offset", "tag"
        )
        return {
            slug: _head(*at)
            for slug, at in zip(slugs, found, strict=True)
            if not isinstance(at, Unavailable)
        }

    async def count_viewers(self, slug: str, process: str, count: int) -> int:
        """Renew this process's lease on `count` viewers; the sum over all processes."""
        keys = BlogKeys(slug)
        return int(
            await self._connection.run(
                _VIEWERS, [keys.viewers], [process, count, VIEWERS_LEASE_SECONDS]
            )
        )


def announced(payload: bytes) -> Announced:
    """An entry out of what `append.lua` announces."""
    place, _, body = payload.partition(b"\n")
    epoch, offset, tag, previous = place.decode().split(" ")
    return Announced(_entry(Cursor(epoch, int(offset), tag), body), previous)


def checked_key(key: str) -> str:
    """An `Idempotency-Key`, where it can be one. Raises: Invalid."""
    if not (1 <= len(key) <= 128 and key.isascii() and key.isprintable()):
        raise Invalid(FieldError("Idempotency-Key", "must be 1 to 128 printable ASCII characters"))
    return key


def _entry(cursor: Cursor, body: bytes) -> Entry:
    stored = _stored(body)
    return Entry(cursor, stored.action, stored.id, stored.post, stored.blog)


def _head(epoch: bytes | None, offset: bytes, tag: bytes) -> Cursor | None:
    return Cursor(epoch.decode(), int(offset), tag.decode()) if epoch else None


def _placed(page: Any) -> tuple[Placed, ...]:
    bodies, places = page
    return tuple(
        Placed(_post(body), int(place)) for body, place in zip(bodies, places, strict=True) if body
    )


def _no_blog(slug: str) -> NotFound:
    return NotFound(f"There is no blog at /{slug}.")
