"""A cursor reads back as it was written; nothing else is one; each entry gets its verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from liveblog.domain.cursor import Cursor, Verdict, judge

VECTORS = Path(__file__).parent.parent / "vectors" / "cursor.json"


def vectors(part: str) -> list[Any]:
    found: list[Any] = json.loads(VECTORS.read_text("utf-8"))[part]
    return found


@pytest.mark.parametrize("case", vectors("parse"), ids=lambda case: repr(case["text"])[:40])
def test_a_text_is_a_cursor_or_none(case: dict[str, Any]) -> None:
    cursor = Cursor.parse(case["text"])

    if case["cursor"] is None:
        assert cursor is None
    else:
        assert cursor is not None
        assert [cursor.epoch, cursor.offset, cursor.tag] == case["cursor"]
        assert str(cursor) == case["text"]


@pytest.mark.parametrize("case", vectors("judge"), ids=lambda case: case["claim"])
def test_an_entry_is_judged_against_what_is_held(case: dict[str, Any]) -> None:
    held, entry = Cursor.parse(case["held"]), Cursor.parse(case["entry"])
    assert held is not None
    assert entry is not None

    assert judge(held, entry, case["previous"], case["known_tag"]) is Verdict(case["verdict"])


def test_the_vectors_reach_every_verdict() -> None:
    assert {case["verdict"] for case in vectors("judge")} == {verdict.value for verdict in Verdict}
