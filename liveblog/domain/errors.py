"""What can be wrong with a request, each raised where it is found and mapped to an answer once."""

from __future__ import annotations

from dataclasses import dataclass

_SILENT = "doesn't answer"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that can't be taken, and what to do about it."""

    field: str
    message: str


class Refusal(Exception):
    """A request that is understood and can't be granted; `detail` is for the person who asked.

    Where the same may be granted later, `retry_after_seconds` says when to ask again.
    """

    retry_after_seconds: int | None = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Invalid(Refusal):
    """Fields that break their rule; nothing was stored."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors


class Unreadable(Refusal):
    """A body that isn't what it says it is: bad JSON, bad UTF-8."""


class NotFound(Refusal):
    """There is nothing here, or nothing that the caller may see."""


class Unauthenticated(Refusal):
    """No credential, or a dead one."""


class Forbidden(Refusal):
    """The caller may see it and not do it."""


class Conflict(Refusal):
    """The name is taken."""


class KeyReused(Refusal):
    """An idempotency key came back with other content; what it first stood for remains."""


class Gone(Refusal):
    """What an idempotency key stood for was retracted since."""

    def __init__(self, detail: str, id: str) -> None:
        super().__init__(detail)
        self.id = id


class Stale(Refusal):
    """Another revision stands than the one the change was made against."""


class ConditionMissing(Refusal):
    """A change that needs `If-Match` came without."""


class TooMany(Refusal):
    """More at once than is let in."""

    retry_after_seconds = 10


class Busy(Refusal):
    """More in a row than can be served beside those who are there."""

    retry_after_seconds = 2


class Unavailable(Refusal):
    """The store can't take it now.

    `detail` is for strangers. `state` says in a few words how the store is, and `reason` why in
    full: that is for whoever runs the server, as it may name addresses.
    """

    retry_after_seconds = 2

    def __init__(self, detail: str, *, state: str = _SILENT, reason: str = "") -> None:
        super().__init__(detail)
        self.state = state
        self.reason = reason or detail

    @property
    def is_silent(self) -> bool:
        """Whether nothing at all came from the store."""
        return self.state == _SILENT
