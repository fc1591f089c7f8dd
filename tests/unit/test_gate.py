"""Places are counted in all and by address, and given back."""

from __future__ import annotations

import pytest
from starlette.requests import HTTPConnection

from liveblog.delivery.gate import HANDSHAKES_A_SECOND, PER_TOKEN, Gate
from liveblog.domain.errors import Busy, TooMany
from liveblog.web import auth


def test_an_address_has_only_so_many_places() -> None:
    gate = Gate(most=10, per_address=2)
    first = gate.enter("a")
    gate.enter("a")
    with pytest.raises(TooMany):
        gate.enter("a")
    gate.enter("b")

    first.leave()
    gate.enter("a")

    assert (gate.taken, gate.refused) == (3, 1)


def test_all_together_have_only_so_many() -> None:
    gate = Gate(most=2, per_address=2)
    seats = [gate.enter("a"), gate.enter("b")]
    with pytest.raises(TooMany):
        gate.enter("c")

    for seat in seats:
        seat.leave()

    assert gate.taken == 0
    assert gate.enter("c").taken == 1


def test_a_place_is_given_back_whatever_happens() -> None:
    gate = Gate(most=1, per_address=1)
    with pytest.raises(ZeroDivisionError), gate.enter("a"):
        raise ZeroDivisionError

    assert gate.taken == 0


def test_a_token_has_only_so_many_places_from_wherever_it_comes() -> None:
    gate = Gate(most=100, per_address=100)
    seats = [gate.enter(f"address {number}", "token") for number in range(PER_TOKEN)]
    with pytest.raises(TooMany):
        gate.enter("another", "token")
    gate.enter("another", "other token")
    gate.enter("another")

    seats[0].leave()

    assert gate.enter("another", "token").taken == 1


def test_what_is_kept_of_a_token_is_short_and_not_the_token() -> None:
    marks = [
        auth.token_of(HTTPConnection({"type": "http", "headers": [(b"authorization", said)]}))
        for said in (b"Bearer " + b"t" * 60_000, b"Bearer " + b"u" * 60_000)
    ]

    assert [len(mark) for mark in marks] == [64, 64]
    assert len(set(marks)) == 2


def test_a_whole_house_may_come_at_once_and_then_so_many_a_second() -> None:
    gate = Gate(most=1000, per_address=1)
    for _ in range(1000):
        gate.knock(now=5.0)
    gate.knock(now=5.0)
    with pytest.raises(Busy):
        gate.knock(now=5.0)

    let_in = 0
    for tick in range(1000):
        try:
            gate.knock(now=5.0 + tick / 1000)
        except Busy:
            continue
        let_in += 1

    assert let_in == pytest.approx(HANDSHAKES_A_SECOND, abs=2)
    assert gate.put_off == 1001 - let_in


def test_who_was_put_off_pays_for_nothing() -> None:
    gate = Gate(most=1, per_address=1)
    gate.knock(now=0.0)
    gate.knock(now=0.0)
    for _ in range(100):
        with pytest.raises(Busy):
            gate.knock(now=0.0)

    gate.knock(now=1 / HANDSHAKES_A_SECOND)


def test_addresses_that_have_left_are_forgotten() -> None:
    gate = Gate(most=2, per_address=1)
    for number in range(100):
        gate.enter(f"address {number}").leave()

    assert not gate._seats
    assert not gate._of_address
