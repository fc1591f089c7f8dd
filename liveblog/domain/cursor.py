"""Where a reader stands in a log, and what a new entry means to somebody who stands there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_MAX_OFFSET = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in one blog's log: the log's epoch, the entry's offset, and that entry's tag.

    The tag is a short hash over the entry and the tag before it. After a failover that lost
    writes, the same epoch and offset can come back with other content; only the tag tells.
    """

    epoch: str
    offset: int
    tag: str

    def __str__(self) -> str:
        return f"{self.epoch}.{self.offset}.{self.tag}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """The cursor that `text` stands for; None where it can't be one."""
        epoch, _, rest = text.partition(".")
        digits, _, tag = rest.partition(".")
        if not (_is_word(epoch) and _is_word(tag) and digits.isascii() and digits.isdecimal()):
            return None
        if len(digits) > 16 or (digits[0] == "0" and digits != "0"):
            return None
        offset = int(digits)
        return cls(epoch, offset, tag) if offset <= _MAX_OFFSET else None


class Verdict(Enum):
    """What an announced entry is to somebody who holds the log up to a cursor."""

    NEXT = "next"
    SEEN = "seen"
    GAP = "gap"
    REPLACED = "replaced"


def judge(held: Cursor, entry: Cursor, previous: str, known_tag: str | None) -> Verdict:
    """Compare an announced `entry`, whose predecessor has the tag `previous`, with what is `held`.

    `known_tag` is the tag held at the entry's own offset, where there is one.
    """
    if entry.epoch != held.epoch:
        return Verdict.REPLACED
    if entry.offset <= held.offset:
        return Verdict.SEEN if known_tag in (None, entry.tag) else Verdict.REPLACED
    if entry.offset > held.offset + 1:
        return Verdict.GAP
    return Verdict.NEXT if previous == held.tag else Verdict.REPLACED


def _is_word(text: str) -> bool:
    return 0 < len(text) <= 32 and text.isascii() and text.isalnum()
