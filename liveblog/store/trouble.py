"""What Redis or the network did, in words that show nothing of where the store is."""

from __future__ import annotations

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from liveblog.domain.errors import Unavailable

CANT_REACH = "The store can't be reached at the moment. Please try again."
CANT_TAKE = "The store can't take this at the moment. Please try again."
NO_ROOM = "has no room left on its disk"
_STATES: dict[type[Exception], str] = {
    AskError: "moves this to another node",
    AuthenticationError: "doesn't know this user or password",
    BusyLoadingError: "still loads its data",
    ClusterDownError: "is a cluster that has lost some of its nodes",
    NoPermissionError: "allows this user too little",
    OutOfMemoryError: "takes no writes: its memory is full",
    ReadOnlyError: "takes no writes: it is a replica",
    TryAgainError: "moves this to another node",
}
_STATES_BY_CODE = {
    "MISCONF": "takes no writes: it can't save to its disk",
    "NOREPLICAS": "takes no writes: too few replicas are connected",
}


class StoreRefused(Exception):
    """A server that can't be the store; the message says which, why, and what to do.

    `state` says which and why, and not where.
    """

    def __init__(self, message: str, state: str) -> None:
        super().__init__(message)
        self.state = state


def unavailable(error: Exception) -> Unavailable:
    """What the client's error means to whoever sent a request."""
    if isinstance(error, Unavailable):
        return error
    reason = str(error) or type(error).__name__
    if isinstance(error, StoreRefused):
        return Unavailable(CANT_TAKE, state=error.state, reason=reason)
    for kind, state in _STATES.items():
        if isinstance(error, kind):
            return Unavailable(CANT_TAKE, state=state, reason=reason)
    if isinstance(error, ResponseError):
        if "ACL failure in script" in reason or "The user executing the script" in reason:
            return Unavailable(CANT_TAKE, state=_STATES[NoPermissionError], reason=reason)
        code = reason.split(" ", 1)[0]
        state = _STATES_BY_CODE.get(code, "refuses what it is asked")
        return Unavailable(CANT_TAKE, state=state, reason=reason)
    return Unavailable(CANT_REACH, reason=reason)
