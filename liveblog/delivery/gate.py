"""Who may come in: how many viewers at once, in all and from one address."""

from __future__ import annotations

from typing import Self

from liveblog.domain.errors import TooMany


class Seat:
    """One address's share of the places. Taken by `Gate.enter`, given back by `leave`."""

    __slots__ = ("_gate", "address", "taken")

    def __init__(self, gate: Gate, address: str) -> None:
        self._gate = gate
        self.address = address
        self.taken = 0

    def leave(self) -> None:
        self._gate.leave(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


class Gate:
    """Counts who is in. All viewers of one address share one seat, which costs each no memory."""

    def __init__(self, most: int, per_address: int) -> None:
        self.most = most
        self.per_address = per_address
        self.taken = 0
        self.refused = 0
        self._seats: dict[str, Seat] = {}

    def enter(self, address: str) -> Seat:
        """A place for somebody from `address`. Raises: TooMany."""
        seat = self._seats.get(address)
        if self.taken >= self.most or (seat is not None and seat.taken >= self.per_address):
            self.refused += 1
            raise TooMany(
                "Too many are connected at the moment. Please try again in a little while."
            )
        if seat is None:
            seat = self._seats[address] = Seat(self, address)
        seat.taken += 1
        self.taken += 1
        return seat

    def leave(self, seat: Seat) -> None:
        seat.taken -= 1
        self.taken -= 1
        if not seat.taken:
            del self._seats[seat.address]
