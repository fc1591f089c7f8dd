"""A post is what was typed, cleaned and within bounds, and each edit is a revision of it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta

import pytest

from liveblog.domain.errors import Invalid
from liveblog.domain.post import (
    BODY_LONGEST,
    HEADLINE_LONGEST,
    SESSION_LONGEST,
    TAG_LONGEST,
    TAGS_MOST,
    Author,
    Draft,
    Kind,
    Post,
    drafted,
    edited,
    published,
)

AT = datetime(2026, 11, 23, 10, 2, 11, tzinfo=UTC)
ANA = Author("a1", "Ana")


def post(**words: object) -> Post:
    draft = drafted(**{"body": "Doors **open**", **words})  # type: ignore[arg-type]
    return published(draft, id="p1", blog="live", author=ANA, at=AT)


def test_a_draft_needs_only_a_body() -> None:
    assert drafted(body="Doors open") == Draft(
        body="Doors open",
        kind=Kind.UPDATE,
        headline=None,
        key=False,
        pinned=False,
        tags=(),
        session=None,
        captured_at=None,
    )


def test_what_is_typed_is_cleaned() -> None:
    draft = drafted(
        body=" Doors\r\nopen\x00 ", headline=" Now\n in ", session="  Main   stage ", tags=["#a b"]
    )

    assert (draft.body, draft.headline, draft.session, draft.tags) == (
        "Doors\nopen",
        "Now in",
        "Main stage",
        ("a b",),
    )


def test_blank_options_are_none() -> None:
    draft = drafted(body="x", headline="  ", session="\n")

    assert (draft.headline, draft.session) == (None, None)


def test_tags_keep_their_order_and_come_once() -> None:
    assert drafted(body="x", tags=["b", " #a", "b", "a", "B"]).tags == ("b", "a", "B")


@pytest.mark.parametrize(
    "words",
    [
        {"body": "x" * BODY_LONGEST},
        {"body": "x", "headline": "x" * HEADLINE_LONGEST},
        {"body": "x", "session": "x" * SESSION_LONGEST},
        {"body": "x", "tags": ["x" * TAG_LONGEST]},
        {"body": "x", "tags": [str(number) for number in range(TAGS_MOST)]},
        {"body": "x", "tags": ["#" + "x" * TAG_LONGEST]},
    ],
)
def test_what_just_fits_is_taken(words: dict[str, object]) -> None:
    assert post(**words).revision == 1


@pytest.mark.parametrize(
    "field, words",
    [
        ("body", {"body": ""}),
        ("body", {"body": " \n\x00"}),
        ("body", {"body": "x" * (BODY_LONGEST + 1)}),
        ("headline", {"headline": "x" * (HEADLINE_LONGEST + 1)}),
        ("session", {"session": "x" * (SESSION_LONGEST + 1)}),
        ("tags", {"tags": ["x" * (TAG_LONGEST + 1)]}),
        ("tags", {"tags": [str(number) for number in range(TAGS_MOST + 1)]}),
        ("tags", {"tags": [""]}),
        ("tags", {"tags": ["#"]}),
        ("tags", {"tags": ["good", " "]}),
    ],
)
def test_what_is_over_its_bound_is_refused_by_name(field: str, words: dict[str, object]) -> None:
    with pytest.raises(Invalid) as error:
        post(**words)

    assert [each.field for each in error.value.errors] == [field]


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(Invalid) as error:
        post(body="", headline="x" * (HEADLINE_LONGEST + 1), tags=["#"], session="x" * 1000)

    assert [each.field for each in error.value.errors] == ["body", "headline", "tags", "session"]


def test_a_first_revision_has_its_html_and_no_edit() -> None:
    made = post(key=True, pinned=True, captured_at=AT - timedelta(hours=1))

    assert (made.revision, made.edited_at, made.published_at) == (1, None, AT)
    assert made.html == "<p>Doors <strong>open</strong></p>"
    assert (made.author, made.blog, made.key, made.pinned) == (ANA, "live", True, True)
    assert made.captured_at == AT - timedelta(hours=1)


def test_an_edit_is_the_next_revision_of_the_same_post() -> None:
    first = post(headline="Now", tags=["a"], key=True)
    later = AT + timedelta(minutes=5)

    second = edited(first, drafted(body="Doors *closed*", kind=Kind.ANNOUNCEMENT), later)

    assert (second.id, second.author, second.published_at) == (first.id, ANA, AT)
    assert (second.revision, second.edited_at) == (2, later)
    assert second.html == "<p>Doors <em>closed</em></p>"
    assert (second.headline, second.tags, second.key) == (None, (), False)
    assert second.kind is Kind.ANNOUNCEMENT


def test_a_post_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        post().body = "other"  # type: ignore[misc]
