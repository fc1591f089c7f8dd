"""One line of a blog's log: a post published, edited or retracted, or the blog itself changed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from liveblog.domain.blog import Blog
from liveblog.domain.cursor import Cursor
from liveblog.domain.post import Post


class EntryAction(StrEnum):
    """What happened; clients ignore the ones they don't know."""

    PUBLISH = "publish"
    EDIT = "edit"
    RETRACT = "retract"
    BLOG = "blog"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry at its place. A retraction names the post and carries no words."""

    cursor: Cursor
    action: EntryAction
    post_id: str | None = None
    post: Post | None = None
    blog: Blog | None = None

    @property
    def offset(self) -> int:
        return self.cursor.offset
