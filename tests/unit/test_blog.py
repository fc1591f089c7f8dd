"""A blog's address, zone and language are checked before anything is made with them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from liveblog.domain.blog import (
    RESERVED,
    Blog,
    BlogState,
    checked_language,
    checked_slug,
    checked_timezone,
    is_slug,
)
from liveblog.domain.errors import Invalid
from liveblog.web.routes import routes


@pytest.mark.parametrize("slug", ["ab", "live", "a-b", "2026", "pycon-2026", "--", "x" * 64])
def test_a_slug_is_short_plain_and_lower_case(slug: str) -> None:
    assert checked_slug(slug) == slug
    assert is_slug(slug)


@pytest.mark.parametrize(
    "slug",
    ["", "a", "x" * 65, "Live", "a_b", "a b", "a/b", "a.b", "embed.js", "é", "ab\n", "\nab",
     "a\x00", "..", "%2e%2e", "ａｂ", "۱۲", "live\u200b"],
)  # fmt: skip
def test_anything_else_is_no_slug(slug: str) -> None:
    assert not is_slug(slug)
    with pytest.raises(Invalid, match="2 to 64 characters"):
        checked_slug(slug)


@pytest.mark.parametrize("slug", sorted(RESERVED))
def test_an_address_of_the_site_itself_is_no_blogs(slug: str) -> None:
    assert not is_slug(slug)
    with pytest.raises(Invalid, match=f"“{slug}” is an address of the site itself"):
        checked_slug(slug)


def test_every_first_segment_that_answers_is_reserved() -> None:
    taken = {str(getattr(route, "path", "")).split("/")[1] for route in routes}

    assert {segment for segment in taken if segment and segment != "{slug}"} <= RESERVED
    assert set("api static media join healthz readyz metrics".split()) <= RESERVED


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"])
def test_a_time_zone_is_one_that_can_be_shown(name: str) -> None:
    blog = Blog(
        slug="live",
        title="t",
        state=BlogState.LIVE,
        created_at=datetime(2026, 11, 23, tzinfo=UTC),
        timezone=checked_timezone(name),
    )

    assert blog.zone.key == name


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "europe/berlin ", "+01:00", "../../etc/passwd", "/etc/localtime",
             "UTC\x00", "Europe", "posix/UTC/", "x" * 10_000],
)  # fmt: skip
def test_no_other_name_is_a_time_zone(name: str) -> None:
    with pytest.raises(Invalid, match="IANA"):
        checked_timezone(name)


@pytest.mark.parametrize("tag", ["en", "pt-BR", "zh-Hant-TW", "gsw", "sr-Latn-RS", "es-419"])
def test_a_language_is_a_tag(tag: str) -> None:
    assert checked_language(tag) == tag


@pytest.mark.parametrize(
    "tag", ["", "e", "english", "en_GB", "en-", "en\n", "<b>", "en-" + "x" * 9]
)
def test_anything_else_is_no_language(tag: str) -> None:
    with pytest.raises(Invalid, match="BCP 47"):
        checked_language(tag)
