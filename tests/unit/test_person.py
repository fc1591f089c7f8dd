"""Who may do what: the whole matrix, as a table that can be read aloud."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from liveblog.domain.errors import Forbidden, Unauthenticated
from liveblog.domain.person import Action, Caller, Person, Role, require, require_change
from liveblog.domain.post import Author, Post, drafted, published

ANA = Person("ana", "Ana")
BEN = Person("ben", "Ben")

#                            viewer contributor reporter editor owner
MATRIX = {
    Action.PUBLISH:         (False, False, True, True, True),
    Action.WATCH_TEAM:      (False, False, True, True, True),
    Action.CHANGE_ANY_POST: (False, False, False, True, True),
    Action.CHANGE_BLOG:     (False, False, False, True, True),
    Action.INVITE:          (False, False, False, True, True),
    Action.MANAGE_PEOPLE:   (False, False, False, True, True),
    Action.CREATE_BLOG:     (False, False, False, False, True),
}  # fmt: skip
#                       gives:  viewer contributor reporter editor owner
GRANTS = {
    Role.VIEWER:        (False, False, False, False, False),
    Role.CONTRIBUTOR:   (False, False, False, False, False),
    Role.REPORTER:      (False, False, False, False, False),
    Role.EDITOR:        (True, True, True, True, False),
    Role.OWNER:         (True, True, True, True, False),
}  # fmt: skip


def post_by(person: Person) -> Post:
    author = Author(person.id, person.name)
    at = datetime(2026, 11, 23, tzinfo=UTC)
    return published(drafted(body="x"), id="p", blog="live", author=author, at=at)


def test_the_matrix_names_every_action() -> None:
    assert set(MATRIX) == set(Action)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("role", Role)
def test_each_role_may_do_what_the_matrix_says(role: Role, action: Action) -> None:
    caller = Caller(ANA, role)

    assert caller.may(action) == MATRIX[action][role]
    if MATRIX[action][role]:
        require(caller, action)
    else:
        with pytest.raises(Forbidden, match=rf"you need the role .*; yours is {role.label}"):
            require(caller, action)


@pytest.mark.parametrize("action", Action)
def test_who_is_nobody_is_asked_to_sign_in(action: Action) -> None:
    with pytest.raises(Unauthenticated):
        require(Caller(None, Role.VIEWER), action)


@pytest.mark.parametrize("given", Role)
@pytest.mark.parametrize("role", Role)
def test_nobody_gives_more_than_they_have(role: Role, given: Role) -> None:
    assert Caller(ANA, role).may_grant(given) == GRANTS[role][given]


@pytest.mark.parametrize(
    "role, own, others",
    [
        (Role.VIEWER, False, False),
        (Role.CONTRIBUTOR, False, False),
        (Role.REPORTER, True, False),
        (Role.EDITOR, True, True),
        (Role.OWNER, True, True),
    ],
)
def test_reporters_change_their_own_posts_and_editors_all(
    role: Role, own: bool, others: bool
) -> None:
    caller = Caller(ANA, role)

    assert caller.may_change(post_by(ANA)) == own
    assert caller.may_change(post_by(BEN)) == others
    for post, may in ((post_by(ANA), own), (post_by(BEN), others)):
        if may:
            require_change(caller, post)
        else:
            with pytest.raises(Forbidden):
                require_change(caller, post)


def test_a_name_gives_nothing_only_the_id_does() -> None:
    namesake = Person("other", ANA.name)

    assert not Caller(namesake, Role.REPORTER).may_change(post_by(ANA))
    with pytest.raises(Unauthenticated):
        require_change(Caller(None, Role.VIEWER), post_by(ANA))
