"""The judge of the other faults isn't blind: each wrong done to a true sequence is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from liveblog.domain.cursor import Cursor
from liveblog.domain.entry import Entry, EntryAction
from tests.oracle import (
    Chapter,
    Heard,
    check_acknowledged,
    check_equals_log,
    check_shows,
    check_unbroken,
)
from tests.worlds import a_post


def entry(offset: int) -> Entry:
    post = replace(a_post("live", f"post {offset}"), id=f"p{offset}")
    return Entry(Cursor("e", offset, f"t{offset}"), EntryAction.PUBLISH, post.id, post)


LOG = [entry(offset) for offset in range(1, 9)]


def heard(offset: int) -> Heard:
    return Heard(f"e.{offset}.t{offset}", offset, "publish", f"p{offset}", f"post {offset}")


def told(*offsets: int) -> Chapter:
    return Chapter(
        Cursor("e", 2, "t2"),
        {"p1": "post 1", "p2": "post 2"},
        [heard(offset) for offset in offsets],
    )


def test_a_true_sequence_passes() -> None:
    check_unbroken(told(3, 4, 5, 6, 7, 8))
    check_equals_log(told(3, 4, 5, 6, 7, 8), LOG)
    check_shows(told(3, 4), {f"p{number}": f"post {number}" for number in range(1, 5)})
    check_acknowledged({"post 3": "p3"}, LOG)


@pytest.mark.parametrize(
    "offsets",
    [
        pytest.param((3, 4, 6, 7, 8), id="a hole"),
        pytest.param((4, 5, 6, 7, 8), id="a hole at the start"),
        pytest.param((3, 4, 4, 5, 6, 7, 8), id="a double"),
        pytest.param((2, 3, 4, 5, 6, 7, 8), id="one that was on the page"),
        pytest.param((3, 5, 4, 6, 7, 8), id="two that changed places"),
        pytest.param((3, 1, 2, 4, 5, 6, 7, 8), id="old ones after new ones"),
    ],
)
def test_a_broken_sequence_is_found(offsets: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError):
        check_unbroken(told(*offsets))
    with pytest.raises(AssertionError):
        check_equals_log(told(*offsets), LOG)


def test_a_missing_end_is_found() -> None:
    check_unbroken(told(3, 4, 5, 6, 7))

    with pytest.raises(AssertionError):
        check_equals_log(told(3, 4, 5, 6, 7), LOG)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda each: replace(each, cursor="f.5.t5"), id="of another log"),
        pytest.param(lambda each: replace(each, cursor="e.5.x5"), id="a reused offset"),
        pytest.param(lambda each: replace(each, id="p4"), id="another post"),
        pytest.param(lambda each: replace(each, body="post 4"), id="other words"),
        pytest.param(lambda each: replace(each, body=None, action="retract"), id="no words"),
    ],
)
def test_a_wrong_entry_is_found(wrong: Callable[[Heard], Heard]) -> None:
    chapter = told(3, 4, 5, 6, 7, 8)
    chapter.entries[2] = wrong(chapter.entries[2])

    with pytest.raises(AssertionError):
        check_equals_log(chapter, LOG)


def test_a_page_of_another_log_is_found() -> None:
    chapter = told(3, 4, 5, 6, 7, 8)
    chapter.base = Cursor("e", 2, "x2")

    with pytest.raises(AssertionError):
        check_equals_log(chapter, LOG)


def test_words_may_be_taken_back_later() -> None:
    bare = Entry(LOG[4].cursor, EntryAction.RETRACT, LOG[4].post_id)

    check_equals_log(told(3, 4, 5, 6, 7, 8), [*LOG[:4], bare, *LOG[5:]])


def test_a_screen_that_shows_too_much_or_too_little_is_found() -> None:
    for posts in ({"p1": "post 1"}, {f"p{number}": f"post {number}" for number in range(1, 6)}):
        with pytest.raises(AssertionError):
            check_shows(told(3), posts)


def test_a_lost_or_doubled_post_is_found() -> None:
    double = Entry(Cursor("e", 9, "t9"), EntryAction.PUBLISH, "p9", LOG[2].post)

    with pytest.raises(AssertionError, match="not stored"):
        check_acknowledged({"post 9": "p9"}, LOG)
    with pytest.raises(AssertionError, match="not stored"):
        check_acknowledged({"post 3": "another id"}, LOG)
    with pytest.raises(AssertionError, match="more than once"):
        check_acknowledged({}, [*LOG, double])
