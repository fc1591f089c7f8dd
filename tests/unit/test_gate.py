"""Places are counted in all and by address, and given back."""

from __future__ import annotations

import pytest

from liveblog.delivery.gate import Gate
from liveblog.domain.errors import TooMany


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


def test_addresses_that_have_left_are_forgotten() -> None:
    gate = Gate(most=2, per_address=1)
    for number in range(100):
        gate.enter(f"address {number}").leave()

    assert not gate._seats
