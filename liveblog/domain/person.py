"""Who somebody is, and what they may do: decided here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntEnum

from liveblog.domain.errors import Forbidden, Unauthenticated
from liveblog.domain.post import Post

NAME_LONGEST = 80


class Role(IntEnum):
    """Each has all that stands before it."""

    VIEWER = 0
    CONTRIBUTOR = 1
    REPORTER = 2
    EDITOR = 3
    OWNER = 4

    @property
    def label(self) -> str:
        return self.name.lower()


class Action(Enum):
    """What can be done in a blog."""

    PUBLISH = "publish here"
    WATCH_TEAM = "see the team's side"
    CHANGE_ANY_POST = "change other people's posts"
    CHANGE_BLOG = "change the blog"
    INVITE = "invite people"
    MANAGE_PEOPLE = "manage the team"
    CREATE_BLOG = "make a blog"


LEAST = {
    Action.PUBLISH: Role.REPORTER,
    Action.WATCH_TEAM: Role.REPORTER,
    Action.CHANGE_ANY_POST: Role.EDITOR,
    Action.CHANGE_BLOG: Role.EDITOR,
    Action.INVITE: Role.EDITOR,
    Action.MANAGE_PEOPLE: Role.EDITOR,
    Action.CREATE_BLOG: Role.OWNER,
}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who joined: a random id and the name they gave."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A person's part in one blog."""

    person: Person
    role: Role
    joined_at: datetime
    invitation: str | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request, as far as one blog is concerned."""

    person: Person | None
    role: Role

    def may(self, action: Action) -> bool:
        return self.role >= LEAST[action]

    def may_change(self, post: Post) -> bool:
        """Reporters change their own posts, editors all; an author who lost the role, none."""
        if self.may(Action.CHANGE_ANY_POST):
            return True
        return (
            self.may(Action.PUBLISH)
            and self.person is not None
            and self.person.id == post.author.id
        )

    def may_grant(self, role: Role) -> bool:
        """Nobody gives more than they have, and an owner isn't made by invitation."""
        return self.may(Action.INVITE) and role <= min(self.role, Role.EDITOR)


def require(caller: Caller, action: Action) -> None:
    """Raises: Unauthenticated where nobody is signed in; Forbidden where the role isn't enough."""
    if caller.may(action):
        return
    if caller.person is None:
        raise Unauthenticated("Sign in first: open your invitation's link.")
    raise Forbidden(
        f"To {action.value} you need the role {LEAST[action].label}; yours is {caller.role.label}."
    )


def require_change(caller: Caller, post: Post) -> None:
    """As `require`, for the change of one post."""
    if not caller.may_change(post):
        require(caller, Action.CHANGE_ANY_POST)
