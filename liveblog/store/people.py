"""Who may come in and who is in: invitations, members of a blog, sessions."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec

from liveblog.domain.errors import KeyReused, NotFound, Unauthenticated
from liveblog.domain.invitation import Invitation
from liveblog.domain.person import Member, Person, Role
from liveblog.store import keys
from liveblog.store.connection import Connection, Script
from liveblog.store.keys import BlogKeys

SESSION_SECONDS = 90 * 24 * 3600
JOINING_REMEMBERED_SECONDS = 900

_REDEEM = Script.load("redeem", "write")
_ADMIT = Script.load("admit", "write")
_REVOKE = Script.load("revoke", "write")
_REGRADE = Script.load("regrade", "write")
_END = Script.load("end", "write")


@dataclass(frozen=True, slots=True)
class Session:
    """Who a session cookie stands for. The owner's holds for all blogs."""

    person: Person
    owner: bool
    token_hash: str = ""


@dataclass(frozen=True, slots=True)
class Joining:
    """One redemption, by the name its sender will repeat it; of another's it is no repetition."""

    name: str
    fingerprint: str

    @classmethod
    def of(cls, secret: str, key: str | None, person_name: str) -> Joining:
        name = hashed(f"{secret} {key or secrets.token_hex(16)}")
        return cls(name, hashed(person_name)[:32])


class _StoredSession(msgspec.Struct):
    person: Person
    token_hash: str
    owner_hash: str | None = None


class _StoredMember(msgspec.Struct):
    name: str
    role: int
    joined_at: datetime
    invitation: str | None = None


class _StoredInvitation(msgspec.Struct):
    role: int
    secret_hash: str
    uses: int
    expires_at_seconds: float
    created_at_seconds: float = 0.0
    name: str | None = None
    invited_by: str | None = None


_encode = msgspec.json.Encoder().encode
_session = msgspec.json.Decoder(_StoredSession).decode
_member = msgspec.json.Decoder(_StoredMember).decode


def hashed(secret: str) -> str:
    """What is kept of a secret. The secrets are random and long, so one round is enough."""
    return sha256(secret.encode()).hexdigest()


class People:
    """Invitations, members and sessions in the store.

    `owner_hash` is of the owner's token: sessions that another token gave are nobody's any more.
    """

    def __init__(self, connection: Connection, owner_hash: str = "") -> None:
        self._connection = connection
        self._owner_hash = owner_hash

    async def invite(self, invitation: Invitation) -> None:
        blog = BlogKeys(invitation.blog)
        stored = _StoredInvitation(
            role=invitation.role,
            secret_hash=invitation.secret_hash,
            uses=invitation.uses,
            expires_at_seconds=invitation.expires_at.timestamp(),
            created_at_seconds=invitation.created_at.timestamp(),
            name=invitation.name,
            invited_by=invitation.invited_by,
        )
        await self._connection.run(
            _ADMIT, [blog.invitations, blog.uses], [invitation.id, _encode(stored), invitation.uses]
        )

    async def redeem(
        self, slug: str, id: str, secret: str, person: Person, now: datetime, joining: Joining
    ) -> Member:
        """Use an invitation for `person`; under the same name of a joining, once.

        Raises: Unauthenticated where it is unknown, used up, expired or revoked, or was there
        already when the person was removed; KeyReused where it was another who joined so.
        """
        blog = BlogKeys(slug)
        invitation = await self._connection.ask("HGET", blog.invitations, id)
        if invitation is None:
            raise dead_invitation()
        role = msgspec.json.decode(invitation, type=_StoredInvitation).role
        member = _StoredMember(person.name, role, now, id)
        answer = await self._connection.run(
            _REDEEM,
            [
                blog.invitations,
                blog.uses,
                blog.people,
                blog.removed,
                blog.done(f"join:{joining.name}"),
            ],
            [
                id,
                hashed(secret),
                str(now.timestamp()),
                person.id,
                _encode(member),
                joining.fingerprint,
                JOINING_REMEMBERED_SECONDS,
            ],
        )
        if answer[0] == b"reused":
            raise KeyReused("Somebody else joined under this Idempotency-Key. Take a new one.")
        if answer[0] != b"joined":
            raise dead_invitation()
        person_id = answer[1].decode()
        await self._connection.tell("SADD", keys.blogs_of(person_id), slug)
        return _read_member(person_id, answer[2])

    async def revoke(self, slug: str, id: str) -> None:
        """Take an invitation back, and with it everybody it let in. Raises: NotFound."""
        blog = BlogKeys(slug)
        answer = await self._connection.run(
            _REVOKE, [blog.invitations, blog.uses, blog.people], [id]
        )
        if answer is None:
            raise NotFound("There is no such invitation.")
        for person_id in answer:
            await self._leave(slug, person_id.decode())

    async def members(self, slug: str) -> list[Member]:
        stored = await self._connection.ask("HGETALL", BlogKeys(slug).people)
        members = [_read_member(id.decode(), body) for id, body in stored.items()]
        return sorted(members, key=lambda member: (member.joined_at, member.person.id))

    async def member(self, slug: str, person_id: str) -> Member:
        """Raises: NotFound."""
        body = await self._connection.ask("HGET", BlogKeys(slug).people, person_id)
        if body is None:
            raise _nobody()
        return _read_member(person_id, body)

    async def role(self, slug: str, person_id: str) -> Role:
        body = await self._connection.ask("HGET", BlogKeys(slug).people, person_id)
        return Role(_member(body).role) if body else Role.VIEWER

    async def roles(self, person_id: str) -> dict[str, Role]:
        slugs = await self._connection.ask("SMEMBERS", keys.blogs_of(person_id))
        found = {slug.decode(): await self.role(slug.decode(), person_id) for slug in sorted(slugs)}
        return {slug: role for slug, role in found.items() if role > Role.VIEWER}

    async def set_role(self, slug: str, member: Member, role: Role) -> None:
        """Give a member another role. Raises: NotFound where they were removed meanwhile."""
        stored = _StoredMember(member.person.name, role, member.joined_at, member.invitation)
        kept = await self._connection.run(
            _REGRADE, [BlogKeys(slug).people], [member.person.id, _encode(stored)]
        )
        if not kept:
            raise _nobody()

    async def remove(self, slug: str, person_id: str, at: datetime) -> None:
        """Take somebody out of the team; sign them out if it was all they had. Raises: NotFound.

        No invitation made before brings them back.
        """
        blog = BlogKeys(slug)
        removed = await self._connection.run(
            _END, [blog.people, blog.removed], [person_id, str(at.timestamp())]
        )
        if not removed:
            raise _nobody()
        await self._leave(slug, person_id)

    async def _leave(self, slug: str, person_id: str) -> None:
        # Their part in the blog is gone already, so each step may be late but none may be left out.
        if not await self.roles(person_id):
            await self._end_sessions(person_id)
        await self._connection.tell("SREM", keys.blogs_of(person_id), slug)

    async def begin_session(self, token: str, session: Session) -> None:
        token_hash = hashed(token)
        owner_hash = self._owner_hash if session.owner else None
        body = _encode(_StoredSession(session.person, token_hash, owner_hash))
        of = keys.sessions_of(session.person.id)
        await self._connection.tell("SADD", of, token_hash)
        await self._connection.tell("EXPIRE", of, SESSION_SECONDS)
        await self._connection.tell("SET", keys.session(token_hash), body, "EX", SESSION_SECONDS)

    async def session(self, token: str) -> Session | None:
        body = await self._connection.ask("GET", keys.session(hashed(token)))
        if body is None:
            return None
        stored = _session(body)
        if stored.owner_hash not in (None, self._owner_hash):
            return None
        return Session(stored.person, stored.owner_hash is not None, stored.token_hash)

    async def end_session(self, session: Session) -> None:
        of = keys.sessions_of(session.person.id)
        await self._delete(keys.session(session.token_hash))
        await self._connection.tell("SREM", of, session.token_hash)

    async def _end_sessions(self, person_id: str) -> None:
        """Ends what invitations gave; what the owner's token gave stays."""
        of = keys.sessions_of(person_id)
        for token_hash in await self._connection.ask("SMEMBERS", of):
            await self._end_unless_owners(of, token_hash.decode())

    async def _end_unless_owners(self, of: str, token_hash: str) -> None:
        key = keys.session(token_hash)
        body = await self._connection.ask("GET", key)
        if body is None or _session(body).owner_hash is None:
            await self._delete(key)
            await self._connection.tell("SREM", of, token_hash)

    async def _delete(self, key: str) -> None:
        await self._connection.tell("DEL", key)


def dead_invitation() -> Unauthenticated:
    return Unauthenticated(
        "This invitation is unknown, used up, expired or withdrawn. "
        "Ask whoever sent it for a new one."
    )


def _read_member(person_id: str, body: Any) -> Member:
    stored = _member(body)
    return Member(
        person=Person(person_id, stored.name),
        role=Role(stored.role),
        joined_at=stored.joined_at.astimezone(UTC),
        invitation=stored.invitation,
    )


def _nobody() -> NotFound:
    return NotFound("There is no such person in this blog's team.")
