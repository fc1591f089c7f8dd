"""A way in: a secret that gives a role in one blog, so many times, until some moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from liveblog.domain.person import Role

USES_MOST = 1_000
EXPIRY_DEFAULT_SECONDS = 7 * 24 * 3600
EXPIRY_MOST_SECONDS = 366 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """Its secret is known only to whoever was shown it; the store keeps a hash."""

    id: str
    blog: str
    role: Role
    secret_hash: str
    uses: int
    expires_at: datetime
    created_at: datetime
    name: str | None = None
    invited_by: str | None = None
