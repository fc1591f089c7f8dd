"""Checks on what people type: bounds, blanks and characters that no screen should meet."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import TypeVar, cast

from liveblog.domain.errors import FieldError, Invalid

_T = TypeVar("_T")

_KEPT_CONTROLS = {"\n", "\t"}
# Embedding and override marks can turn a whole page around (Unicode TR 36, section 2.5);
# isolates and the directional marks that right-to-left writing needs stay.
_OVERRIDES = {"\u202a", "\u202b", "\u202c", "\u202d", "\u202e"}
# Characters that XML, and so a feed, can't hold in any form (XML 1.0, section 2.2).
_NOT_IN_XML = {"\ufffe", "\uffff"}
# Letters and a symbol by their category, and yet nothing to see.
_UNSEEN = {"\u115f", "\u1160", "\u2800", "\u3164", "\uffa0"}
_UNSEEN_CATEGORIES = {"Cc", "Cf", "Zs", "Zl", "Zp"}
_LEFT_OUT = _OVERRIDES | _NOT_IN_XML
# No language needs more (Unicode UAX 15, "Stream-Safe Text Format"), and putting marks in their
# order takes time quadratic in how many stand in a row.
_MARKS_MOST = 30


def cleaned(value: str) -> str:
    """`value` in Unicode NFC with `\\n` line ends, without control and override marks."""
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    if not text.isascii():
        text = unicodedata.normalize("NFC", _without_piles(text))
    if text.isprintable():
        return text
    return "".join(
        character
        for character in text
        if character in _KEPT_CONTROLS
        or (unicodedata.category(character) not in {"Cc", "Cs"} and character not in _LEFT_OUT)
    )


def prose(field: str, value: str, longest: int) -> str:
    """Several lines of text: trimmed, not blank, at most `longest` characters.

    Raises: Invalid.
    """
    text = cleaned(value).strip()
    if _is_blank(text):
        raise Invalid(FieldError(field, "must not be empty"))
    return _bounded(field, text, longest)


def line(field: str, value: str, longest: int) -> str:
    """One line of text: inner white space folded, not blank, at most `longest` characters.

    Raises: Invalid.
    """
    text = " ".join(cleaned(value).split())
    if _is_blank(text):
        raise Invalid(FieldError(field, "must not be empty"))
    return _bounded(field, text, longest)


def optional_line(field: str, value: str | None, longest: int) -> str | None:
    """As `line`, but nothing and blanks are `None`."""
    return line(field, value, longest) if value and not _is_blank(cleaned(value)) else None


class Checks:
    """Checks field by field, and tells of all that fail at once."""

    def __init__(self) -> None:
        self._errors: list[FieldError] = []

    def of(self, check: Callable[..., _T], *values: object) -> _T:
        """What `check` makes of the values; nothing to be used before `settle`, if it refuses."""
        try:
            return check(*values)
        except Invalid as error:
            self._errors += error.errors
            return cast(_T, None)

    def settle(self) -> None:
        """Raises: Invalid, if anything was."""
        if self._errors:
            raise Invalid(*self._errors)


def _is_blank(text: str) -> bool:
    return all(
        unicodedata.category(character) in _UNSEEN_CATEGORIES or character in _UNSEEN
        for character in text
    )


def _without_piles(text: str) -> str:
    kept, marks = [], 0
    for character in text:
        marks = marks + 1 if unicodedata.category(character)[0] == "M" else 0
        if marks <= _MARKS_MOST:
            kept.append(character)
    return "".join(kept)


def _bounded(field: str, text: str, longest: int) -> str:
    if len(text) > longest:
        raise Invalid(
            FieldError(field, f"is {len(text):,} characters long; at most {longest:,} are taken")
        )
    return text
