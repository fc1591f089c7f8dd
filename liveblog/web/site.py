"""What every request can reach: the store, the hub, the templates, the settings."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from starlette.requests import HTTPConnection

from liveblog.delivery.broker import Broker
from liveblog.delivery.gate import Gate
from liveblog.delivery.hub import Hub
from liveblog.domain.person import Person
from liveblog.settings import Settings
from liveblog.store.connection import Connection
from liveblog.store.log import Log
from liveblog.store.people import People, hashed

if TYPE_CHECKING:
    from liveblog.web.ready import Shelf
    from liveblog.web.render import Pages

OWNER = Person("owner", "The desk")
ORIGINS_MOST = 8


@dataclass(frozen=True, slots=True)
class Site:
    """One running site. `owner_hash` is all that is kept of the owner's token."""

    settings: Settings
    connection: Connection
    log: Log
    people: People
    hub: Hub
    broker: Broker
    pages: Pages
    owner_hash: str
    release: str
    gate: Gate
    shelf: Shelf
    _origins: dict[str, None] = field(default_factory=dict)

    def is_owner_token(self, token: str) -> bool:
        return hmac.compare_digest(hashed(token), self.owner_hash)

    def origin(self, request: HTTPConnection) -> str:
        """The origin that people typed: the public URL, else scheme and `Host` of the request."""
        if self.settings.public_url is not None:
            return self.settings.public_url
        scope = request.scope
        scheme = scope.get("scheme", "http")
        scheme = {"ws": "http", "wss": "https"}.get(scheme, scheme)
        for name, value in scope["headers"]:
            if name == b"host":
                return f"{scheme}://{value.decode('latin-1')}"
        return f"{scheme}://{request.url.netloc}"

    def shared_origin(self, request: HTTPConnection) -> str:
        """The origin for frames, which viewers share: only so many, as each costs an encoding.

        Beyond them addresses are without origin: whoever makes up a `Host` must not send others
        to it.
        """
        origin = self.origin(request)
        if origin not in self._origins and len(self._origins) >= ORIGINS_MOST:
            return ""
        self._origins[origin] = None
        return origin


def address_of(request: HTTPConnection) -> str:
    """Where a request comes from, as far as the proxies in front are to be believed."""
    return request.client.host if request.client else ""


def site_of(request: HTTPConnection) -> Site:
    return cast(Site, request.app.state.site)


def now() -> datetime:
    """The present moment, to the millisecond."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
