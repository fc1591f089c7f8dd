"""Checks on what people type: bounds, blanks and characters that no screen should meet."""

from __future__ import annotations

import unicodedata

from liveblog.domain.errors import FieldError, Invalid

_KEPT_CONTROLS = {"\n", "\t"}
# Embedding and override marks can turn a whole page around (Unicode TR 36, section 2.5);
# isolates and the directional marks that right-to-left writing needs stay.
_OVERRIDES = {"\u202a", "\u202b", "\u202c", "\u202d", "\u202e"}


def cleaned(value: str) -> str:
    """`value` in Unicode NFC with `\\n` line ends, without control and override marks."""
    text = unicodedata.normalize("NFC", value.replace("\r\n", "\n").replace("\r", "\n"))
    if text.isprintable():
        return text
    return "".join(
        character
        for character in text
        if character in _KEPT_CONTROLS
        or (unicodedata.category(character) not in {"Cc", "Cs"} and character not in _OVERRIDES)
    )


def prose(field: str, value: str, longest: int) -> str:
    """Several lines of text: trimmed, not blank, at most `longest` characters.

    Raises: Invalid.
    """
    text = cleaned(value).strip()
    if not text:
        raise Invalid(FieldError(field, "must not be empty"))
    return _bounded(field, text, longest)


def line(field: str, value: str, longest: int) -> str:
    """One line of text: inner white space folded, not blank, at most `longest` characters.

    Raises: Invalid.
    """
    text = " ".join(cleaned(value).split())
    if not text:
        raise Invalid(FieldError(field, "must not be empty"))
    return _bounded(field, text, longest)


def optional_line(field: str, value: str | None, longest: int) -> str | None:
    """As `line`, but nothing and blanks are `None`."""
    return line(field, value, longest) if value and value.strip() else None


def _bounded(field: str, text: str, longest: int) -> str:
    if len(text) > longest:
        raise Invalid(
            FieldError(field, f"is {len(text):,} characters long; at most {longest:,} are taken")
        )
    return text
