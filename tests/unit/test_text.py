"""What people type is kept as they meant it, within its bound, and without what harms a screen."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from liveblog.domain.errors import FieldError, Invalid
from liveblog.domain.text import cleaned, line, optional_line, prose
from tests.support import within


def refused(error: pytest.ExceptionInfo[Invalid]) -> FieldError:
    (only,) = error.value.errors
    return only


@pytest.mark.parametrize(
    "typed, kept",
    [
        ("plain", "plain"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("tab\tstays", "tab\tstays"),
        ("nul\x00 bell\x07 escape\x1b[31m delete\x7f", "nul bell escape[31m delete"),
        ("c1\x85\x9b", "c1"),
        ("lone\ud800surrogate", "lonesurrogate"),
        ("\u202edlrow\u202c \u202ahello\u202c", "dlrow hello"),
        ("e\u0301", "\u00e9"),
        ("עברית\u200f, العربية\u200e, \u2068isolated\u2069", None),
        ("\U0001f469\u200d\U0001f680 on stage", None),
        ("नमस्ते, สวัสดี, 你好", None),
        ("\U000e0041 is nobody's business", None),
        ("no\ufffe feed\uffff", "no feed"),
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_only_what_no_screen_should_meet_is_taken_out(typed: str, kept: str | None) -> None:
    assert cleaned(typed) == (typed if kept is None else kept)


def test_what_is_clean_stays_as_it_is() -> None:
    once = cleaned("a\u0301\r\n\x00b\u202e" + "\u0316\u0301" * 40)

    assert cleaned(once) == once


def test_marks_are_piled_no_higher_than_any_language_does() -> None:
    assert len(cleaned("a" + "\u0489" * 500 + "b")) <= 32


def test_a_megabyte_of_marks_is_no_work() -> None:
    # Putting marks in order is quadratic in their number: this many would take minutes.
    with within(5, "cleaning"):
        cleaned("a" + "\u0301\u0316" * 250_000)


def test_prose_keeps_its_lines_and_loses_its_edges() -> None:
    assert prose("body", "\n  one\n\n  two  \n", 20) == "one\n\n  two"


def test_a_line_is_one_line() -> None:
    assert line("title", "  Doors\n\topen \u2003 now ", 20) == "Doors open now"


@pytest.mark.parametrize(
    "blank",
    [
        "", " ", "\n\t", "\u2003\u00a0", "\x00", "\u202e", "\ud800", "\u200b", "\u00ad",
        "\u2063\ufeff", "\u2060 \u200b", "\u3164", "\u2800", "\u115f\u1160\uffa0",
    ],
)  # fmt: skip
def test_blanks_are_nothing(blank: str) -> None:
    with pytest.raises(Invalid) as from_prose:
        prose("body", blank, 10)
    with pytest.raises(Invalid) as from_line:
        line("name", blank, 10)

    assert refused(from_prose) == FieldError("body", "must not be empty")
    assert refused(from_line) == FieldError("name", "must not be empty")
    assert optional_line("headline", blank, 10) is None


def test_nothing_is_none() -> None:
    assert optional_line("headline", None, 10) is None


@pytest.mark.parametrize("check", [prose, line, optional_line])
def test_a_bound_is_in_characters_and_says_by_how_much(
    check: Callable[[str, str, int], str | None],
) -> None:
    fits = "\U0001f680" * 10

    assert check("field", f"  {fits}\x00 ", 10) == fits
    with pytest.raises(Invalid) as error:
        check("field", "x" * 1234, 1000)
    assert refused(error) == FieldError(
        "field", "is 1,234 characters long; at most 1,000 are taken"
    )


def test_characters_are_counted_as_they_are_composed() -> None:
    assert line("name", "e\u0301" * 10, 10) == "é" * 10
