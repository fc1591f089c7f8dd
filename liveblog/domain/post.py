"""What a reporter wrote, in its present form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from liveblog.domain.errors import FieldError, Invalid
from liveblog.domain.markdown import render
from liveblog.domain.text import Checks, line, optional_line, prose

BODY_LONGEST = 20_000
HEADLINE_LONGEST = 200
TAGS_MOST = 10
TAG_LONGEST = 50
SESSION_LONGEST = 100


class Kind(StrEnum):
    """What sort of contribution a post is."""

    UPDATE = "update"
    PHOTO = "photo"
    VIDEO = "video"
    AUDIO = "audio"
    QUOTE = "quote"
    INTERVIEW = "interview"
    LINK = "link"
    ANNOUNCEMENT = "announcement"


@dataclass(frozen=True, slots=True)
class Author:
    """Whose gift a post is."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The words of a post before anybody has taken them; every field within its bound."""

    body: str
    kind: Kind = Kind.UPDATE
    headline: str | None = None
    key: bool = False
    pinned: bool = False
    tags: tuple[str, ...] = ()
    session: str | None = None
    captured_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One post. `html` is its body, rendered once and sanitised; `revision` counts from 1."""

    id: str
    blog: str
    revision: int
    kind: Kind
    headline: str | None
    body: str
    html: str
    key: bool
    pinned: bool
    tags: tuple[str, ...]
    session: str | None
    author: Author
    credits: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    captured_at: datetime | None = None
    published_at: datetime
    edited_at: datetime | None = None


def drafted(
    *,
    body: str,
    kind: Kind = Kind.UPDATE,
    headline: str | None = None,
    key: bool = False,
    pinned: bool = False,
    tags: list[str] | tuple[str, ...] = (),
    session: str | None = None,
    captured_at: datetime | None = None,
) -> Draft:
    """A draft of what was typed, cleaned and within bounds.

    Raises: Invalid, naming every field that isn't.
    """
    checks = Checks()
    draft = Draft(
        body=checks.of(prose, "body", body, BODY_LONGEST),
        kind=kind,
        headline=checks.of(optional_line, "headline", headline, HEADLINE_LONGEST),
        key=key,
        pinned=pinned,
        tags=checks.of(_checked_tags, tags),
        session=checks.of(optional_line, "session", session, SESSION_LONGEST),
        captured_at=captured_at,
    )
    checks.settle()
    return draft


def published(draft: Draft, *, id: str, blog: str, author: Author, at: datetime) -> Post:
    """The first revision of a post made from `draft`."""
    return Post(
        id=id,
        blog=blog,
        revision=1,
        kind=draft.kind,
        headline=draft.headline,
        body=draft.body,
        html=render(draft.body),
        key=draft.key,
        pinned=draft.pinned,
        tags=draft.tags,
        session=draft.session,
        author=author,
        captured_at=draft.captured_at,
        published_at=at,
    )


def edited(post: Post, draft: Draft, at: datetime) -> Post:
    """The next revision of `post`, with the words of `draft`."""
    return replace(
        post,
        revision=post.revision + 1,
        kind=draft.kind,
        headline=draft.headline,
        body=draft.body,
        html=render(draft.body),
        key=draft.key,
        pinned=draft.pinned,
        tags=draft.tags,
        session=draft.session,
        captured_at=draft.captured_at,
        edited_at=at,
    )


def _checked_tags(tags: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    if len(tags) > TAGS_MOST:
        raise Invalid(FieldError("tags", f"are {len(tags)}; at most {TAGS_MOST} are taken"))
    unique = dict.fromkeys(line("tags", tag.strip().lstrip("#"), TAG_LONGEST) for tag in tags)
    return tuple(unique)
