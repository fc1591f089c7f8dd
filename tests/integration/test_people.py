"""Invitations, members and sessions keep their promises on real servers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from liveblog.domain.errors import KeyReused, NotFound, Unauthenticated
from liveblog.domain.invitation import Invitation
from liveblog.domain.person import Member, Person, Role
from liveblog.store.keys import BlogKeys, blogs_of
from liveblog.store.people import SESSION_SECONDS, Joining, People, Session, hashed
from tests.worlds import NOON, STORES, a_store, connected, meddling

ANA, BEN = Person("ana", "Ana"), Person("ben", "Ben")


@dataclass
class Team:
    people: People
    slug: str
    redis: Any

    async def invite(self, **fields: Any) -> tuple[Invitation, str]:
        secret = secrets.token_urlsafe(18)
        invitation = Invitation(
            **{
                "id": secrets.token_hex(4),
                "blog": self.slug,
                "role": Role.REPORTER,
                "secret_hash": hashed(secret),
                "uses": 1,
                "expires_at": NOON + timedelta(days=7),
                "created_at": NOON,
                **fields,
            }
        )
        await self.people.invite(invitation)
        return invitation, secret

    async def redeem(
        self,
        invitation: Invitation,
        secret: str,
        person: Person = ANA,
        *,
        at: datetime = NOON,
        key: str | None = None,
        name: str | None = None,
    ) -> Member:
        joining = Joining.of(secret, key, name or person.name)
        return await self.people.redeem(self.slug, invitation.id, secret, person, at, joining)


@pytest.fixture(scope="module", params=STORES)
async def url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    async with a_store(request.param, tmp_path_factory.mktemp("store")) as address:
        yield address


@pytest.fixture
async def team(url: str) -> AsyncIterator[Team]:
    async with connected(url) as connection, meddling(url) as redis:
        await connection.look()
        # Everybody has a part in this test's blog alone.
        await redis.delete(*(blogs_of(person.id) for person in (ANA, BEN)))
        yield Team(People(connection), f"t-{secrets.token_hex(6)}", redis)


# -- invitations


async def test_an_invitation_makes_a_member(team: Team) -> None:
    invitation, secret = await team.invite()

    member = await team.redeem(invitation, secret)

    assert member == Member(
        person=ANA, role=Role.REPORTER, joined_at=NOON, invitation=invitation.id
    )
    assert await team.people.members(team.slug) == [member]
    assert await team.people.role(team.slug, "ana") is Role.REPORTER
    assert (await team.people.roles("ana"))[team.slug] is Role.REPORTER


async def test_an_invitation_is_used_up(team: Team) -> None:
    invitation, secret = await team.invite(uses=2)
    await team.redeem(invitation, secret, ANA)
    await team.redeem(invitation, secret, BEN)

    with pytest.raises(Unauthenticated):
        await team.redeem(invitation, secret, Person("eve", "Eve"))

    assert {member.person.id for member in await team.people.members(team.slug)} == {"ana", "ben"}


async def test_of_many_at_once_only_so_many_come_in(team: Team) -> None:
    invitation, secret = await team.invite(uses=3)

    results = await asyncio.gather(
        *(team.redeem(invitation, secret, Person(f"p{n}", "P")) for n in range(20)),
        return_exceptions=True,
    )

    assert sum(isinstance(result, Member) for result in results) == 3
    assert sum(isinstance(result, Unauthenticated) for result in results) == 17


async def test_a_repetition_uses_nothing_up_and_is_the_same_person(team: Team) -> None:
    invitation, secret = await team.invite(uses=2)
    first = await team.redeem(invitation, secret, ANA, key="k")

    again = await team.redeem(invitation, secret, Person("other", "Ana"), key="k")

    assert again == first
    assert (await team.redeem(invitation, secret, BEN)).person == BEN


async def test_under_the_same_key_another_is_not_let_in_as_the_first(team: Team) -> None:
    invitation, secret = await team.invite(uses=3)
    first = await team.redeem(invitation, secret, ANA, key="same")

    with pytest.raises(KeyReused):
        await team.redeem(invitation, secret, BEN, key="same")

    assert await team.people.members(team.slug) == [first]
    assert (await team.redeem(invitation, secret, BEN, key="other")).person == BEN
    assert (await team.redeem(invitation, secret, Person("eve", "Eve"))).person.id == "eve"


async def test_who_was_removed_comes_back_by_a_later_invitation_only(team: Team) -> None:
    invitation, secret = await team.invite(uses=5)
    older, older_secret = await team.invite(created_at=NOON - timedelta(hours=1))
    await team.redeem(invitation, secret, ANA)
    await team.people.remove(team.slug, "ana", NOON + timedelta(hours=1))

    for each, its_secret in ((invitation, secret), (older, older_secret)):
        with pytest.raises(Unauthenticated):
            await team.redeem(each, its_secret, ANA)
    later, later_secret = await team.invite(created_at=NOON + timedelta(hours=2))

    assert (await team.redeem(invitation, secret, BEN)).person == BEN
    assert (await team.redeem(later, later_secret, ANA)).person == ANA


async def test_who_was_removed_does_not_come_back_by_repeating(team: Team) -> None:
    invitation, secret = await team.invite(uses=5)
    await team.redeem(invitation, secret, ANA, key="k")
    await team.people.remove(team.slug, "ana", NOON)

    with pytest.raises(Unauthenticated):
        await team.redeem(invitation, secret, ANA, key="k")


@pytest.mark.parametrize("wrong", ["unknown", "secret", "expired", "of another blog"])
async def test_a_dead_invitation_lets_nobody_in(team: Team, wrong: str) -> None:
    invitation, secret = await team.invite()
    tried, at = invitation, NOON
    if wrong == "unknown":
        tried = replace(invitation, id="none")
    elif wrong == "secret":
        secret += "x"
    elif wrong == "expired":
        at = invitation.expires_at
    else:
        other = replace(team, slug=f"t-{secrets.token_hex(6)}")
        tried, _ = await other.invite()

    with pytest.raises(Unauthenticated) as refused:
        await team.redeem(tried, secret, at=at)

    assert secret not in str(refused.value)
    assert not await team.people.members(team.slug)


async def test_an_invitation_that_lost_its_uses_lets_nobody_in(team: Team) -> None:
    invitation, secret = await team.invite()
    await team.redis.delete(BlogKeys(team.slug).uses)

    with pytest.raises(Unauthenticated):
        await team.redeem(invitation, secret)


async def test_an_invitation_never_lowers_a_role(team: Team) -> None:
    as_editor, secret = await team.invite(role=Role.EDITOR)
    await team.redeem(as_editor, secret)
    as_reporter, other = await team.invite(role=Role.REPORTER)

    member = await team.redeem(as_reporter, other)

    assert member.role is Role.EDITOR
    assert await team.people.role(team.slug, "ana") is Role.EDITOR


async def test_an_invitation_may_raise_a_role(team: Team) -> None:
    as_reporter, secret = await team.invite(role=Role.REPORTER)
    await team.redeem(as_reporter, secret)
    as_editor, other = await team.invite(role=Role.EDITOR)

    assert (await team.redeem(as_editor, other)).role is Role.EDITOR


async def test_the_secret_is_kept_nowhere(team: Team) -> None:
    invitation, secret = await team.invite()
    await team.redeem(invitation, secret)
    await team.people.begin_session("the token", Session(ANA, owner=False))

    for key in await team.redis.keys("*"):
        kind = await team.redis.type(key)
        read = {b"hash": team.redis.hgetall, b"string": team.redis.get, b"set": team.redis.smembers}
        held = repr(await read[kind](key)) + repr(key)
        assert secret not in held
        assert "the token" not in held


async def test_a_revoked_invitation_takes_out_whom_it_let_in_and_nobody_else(team: Team) -> None:
    invitation, secret = await team.invite(uses=5)
    other, other_secret = await team.invite()
    await team.redeem(invitation, secret, ANA)
    await team.redeem(other, other_secret, BEN)
    for person in (ANA, BEN):
        await team.people.begin_session(f"token of {person.id}", Session(person, owner=False))

    await team.people.revoke(team.slug, invitation.id)

    assert [member.person for member in await team.people.members(team.slug)] == [BEN]
    assert await team.people.session("token of ana") is None
    assert await team.people.session("token of ben") is not None
    assert team.slug not in await team.people.roles("ana")
    with pytest.raises(Unauthenticated):
        await team.redeem(invitation, secret, Person("eve", "Eve"))


async def test_an_unknown_invitation_cannot_be_revoked(team: Team) -> None:
    with pytest.raises(NotFound):
        await team.people.revoke(team.slug, "none")


# -- members


async def test_a_role_can_be_given_and_everything_else_stays(team: Team) -> None:
    invitation, secret = await team.invite()
    member = await team.redeem(invitation, secret)

    await team.people.set_role(team.slug, member, Role.EDITOR)

    assert await team.people.member(team.slug, "ana") == replace(member, role=Role.EDITOR)


async def test_a_new_role_doesnt_bring_back_who_was_removed(team: Team) -> None:
    invitation, secret = await team.invite()
    member = await team.redeem(invitation, secret)
    await team.people.remove(team.slug, "ana", NOON)

    with pytest.raises(NotFound):
        await team.people.set_role(team.slug, member, Role.EDITOR)

    assert await team.people.role(team.slug, "ana") is Role.VIEWER


async def test_another_owner_token_ends_the_sessions_that_the_old_one_gave(team: Team) -> None:
    before = People(team.people._connection, "hash of the old token")
    await before.begin_session("a token", Session(ANA, owner=True))

    kept = await before.session("a token")
    ended = await People(team.people._connection, "hash of the new token").session("a token")

    assert kept is not None
    assert kept.owner
    assert ended is None


async def test_who_is_removed_is_out_at_once_and_signed_out(team: Team) -> None:
    invitation, secret = await team.invite()
    await team.redeem(invitation, secret)
    for token in ("one", "two"):
        await team.people.begin_session(token, Session(ANA, owner=False))

    await team.people.remove(team.slug, "ana", NOON)

    assert await team.people.role(team.slug, "ana") is Role.VIEWER
    assert [await team.people.session(token) for token in ("one", "two")] == [None, None]
    with pytest.raises(NotFound):
        await team.people.member(team.slug, "ana")
    with pytest.raises(NotFound):
        await team.people.remove(team.slug, "ana", NOON)


async def test_who_has_a_part_elsewhere_stays_signed_in(team: Team) -> None:
    other = replace(team, slug=f"t-{secrets.token_hex(6)}")
    person = Person(secrets.token_hex(4), "Ana")
    for each in (team, other):
        invitation, secret = await each.invite()
        await each.redeem(invitation, secret, person)
    token = secrets.token_hex(4)
    await team.people.begin_session(token, Session(person, owner=False))

    await team.people.remove(team.slug, person.id, NOON)

    assert await team.people.session(token) is not None
    assert await team.people.role(team.slug, person.id) is Role.VIEWER
    assert await team.people.roles(person.id) == {other.slug: Role.REPORTER}
    await team.people.remove(other.slug, person.id, NOON)
    assert await team.people.session(token) is None


async def test_a_session_that_the_owners_token_gave_is_ended_by_no_removal(team: Team) -> None:
    person = Person(secrets.token_hex(4), "Olga")
    invitation, secret = await team.invite()
    await team.redeem(invitation, secret, person)
    owner, other = secrets.token_hex(4), secrets.token_hex(4)
    await team.people.begin_session(owner, Session(person, owner=True))
    await team.people.begin_session(other, Session(person, owner=False))

    await team.people.remove(team.slug, person.id, NOON)

    assert await team.people.session(owner) is not None
    assert await team.people.session(other) is None


async def test_a_stranger_is_a_viewer(team: Team) -> None:
    assert await team.people.role(team.slug, "nobody") is Role.VIEWER
    assert await team.people.roles("nobody") == {}
    assert await team.people.members(team.slug) == []


# -- sessions


async def test_a_session_holds_until_it_is_ended(team: Team) -> None:
    person = Person(secrets.token_hex(4), "Ana")
    await team.people.begin_session("t1", Session(person, owner=False))
    await team.people.begin_session("t2", Session(person, owner=False))

    session = await team.people.session("t1")
    assert session is not None
    assert (session.person, session.owner) == (person, False)
    assert 0 < await team.redis.ttl(f"lb:session:{hashed('t1')}") <= SESSION_SECONDS

    await team.people.end_session(session)

    assert await team.people.session("t1") is None
    assert await team.people.session("t2") is not None
    assert await team.people.session("never begun") is None
