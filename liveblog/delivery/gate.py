"""Who may come in: how many viewers at once, in all, from one address and with one token."""

from __future__ import annotations

from collections import Counter
from typing import Self

from liveblog.domain.errors import Busy, TooMany

# A person has a few pages open, on a few devices; a program that opens more has lost count.
PER_TOKEN = 32
# A whole house may come back at once: that takes a core for seconds, once. Who then still comes
# faster than this would take from those who are in what they came for.
HANDSHAKES_A_SECOND = 500


class Seat:
    """What one address, or one token at it, has of the places. Given back by `leave`."""

    __slots__ = ("_gate", "address", "taken", "token")

    def __init__(self, gate: Gate, address: str, token: str) -> None:
        self._gate = gate
        self.address = address
        self.token = token
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
        self.put_off = 0
        self._seats: dict[tuple[str, str], Seat] = {}
        self._of_address: Counter[str] = Counter()
        self._of_token: Counter[str] = Counter()
        self._paid_until = float("-inf")

    def knock(self, now: float) -> None:
        """Somebody wants to come in, at `now` in seconds of a clock that only goes forward.

        A token bucket as the generic cell rate algorithm (ITU-T I.371): as many as there are places
        at once, then `HANDSHAKES_A_SECOND`.

        Raises: Busy.
        """
        paid_until = max(self._paid_until, now - self.most / HANDSHAKES_A_SECOND)
        if paid_until > now:
            self.put_off += 1
            raise Busy("Too many come at once. Please try again in a moment.")
        self._paid_until = paid_until + 1 / HANDSHAKES_A_SECOND

    def enter(self, address: str, token: str = "") -> Seat:
        """A place for somebody from `address`, and with `token` if they have one. Raises: TooMany.

        The token isn't looked up: one that nobody knows counts as well.
        """
        if (
            self.taken >= self.most
            or self._of_address[address] >= self.per_address
            or (token and self._of_token[token] >= PER_TOKEN)
        ):
            self.refused += 1
            self._forget(address, token)
            raise TooMany(
                "Too many are connected at the moment. Please try again in a little while."
            )
        seat = self._seats.get((address, token))
        if seat is None:
            seat = self._seats[address, token] = Seat(self, address, token)
        self._count(seat, 1)
        return seat

    def leave(self, seat: Seat) -> None:
        self._count(seat, -1)
        if not seat.taken:
            del self._seats[seat.address, seat.token]
        self._forget(seat.address, seat.token)

    def _count(self, seat: Seat, more: int) -> None:
        self.taken += more
        seat.taken += more
        self._of_address[seat.address] += more
        if seat.token:
            self._of_token[seat.token] += more

    def _forget(self, address: str, token: str) -> None:
        for counts, name in ((self._of_address, address), (self._of_token, token)):
            if not counts[name]:
                del counts[name]
