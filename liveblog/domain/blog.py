"""A live blog of one event: its slug, its title, its state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo, available_timezones

from liveblog.domain.errors import FieldError, Invalid

TITLE_LONGEST = 120
SUMMARY_LONGEST = 500
VENUE_LONGEST = 120

# First segments of addresses that are, or may become, something other than a blog.
RESERVED = frozenset(
    "about admin api assets atom blogs contribute css desk embed embed-js feed feeds healthz help"
    " img join js login logout manifest me media metrics new people readyz robots search session"
    " sessions settings sitemap static status sw well-known ws".split()
)

_SLUG = re.compile(r"[a-z0-9-]{2,64}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")


class BlogState(StrEnum):
    """Where the event stands; said on every page."""

    UPCOMING = "upcoming"
    LIVE = "live"
    PAUSED = "paused"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blog:
    """One live blog. `revision` counts its changes: two at once don't swallow each other."""

    slug: str
    title: str
    state: BlogState
    created_at: datetime
    revision: int = 1
    summary: str | None = None
    venue: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    timezone: str = "UTC"
    language: str = "en"

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


def checked_slug(slug: str) -> str:
    """`slug`, where it can be the first segment of a blog's address.

    Raises: Invalid.
    """
    if not _SLUG.fullmatch(slug):
        raise Invalid(FieldError("slug", "must be 2 to 64 characters of a-z, 0-9 and the hyphen"))
    if slug in RESERVED:
        raise Invalid(
            FieldError("slug", f"“{slug}” is an address of the site itself; take another")
        )
    return slug


def is_slug(text: str) -> bool:
    """Whether a blog can stand at `text`; anything else needs no look into the store."""
    return bool(_SLUG.fullmatch(text)) and text not in RESERVED


def checked_timezone(name: str) -> str:
    """`name`, where it is in the IANA time zone database.

    Raises: Invalid.
    """
    if name not in available_timezones():
        raise Invalid(FieldError("timezone", "must be an IANA name like Europe/London"))
    return name


def checked_language(tag: str) -> str:
    """`tag`, where it has the form of a BCP 47 language tag.

    Raises: Invalid.
    """
    if not _LANGUAGE.fullmatch(tag):
        raise Invalid(FieldError("language", "must be a language tag like en or pt-BR (BCP 47)"))
    return tag
