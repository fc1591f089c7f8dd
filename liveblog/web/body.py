"""What comes in: JSON bodies read, checked against their form, and refused field by field."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl

import msgspec
import orjson
from starlette.requests import Request

from liveblog.domain.errors import ConditionMissing, FieldError, Invalid, Unreadable
from liveblog.domain.post import Kind
from liveblog.store.log import checked_key
from liveblog.web.problems import TooLarge, WrongType

BODY_MOST_BYTES = 1024 * 1024
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(2999, 12, 31, tzinfo=UTC)

_Form = TypeVar("_Form", bound=msgspec.Struct)


class Form(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A JSON body: unknown fields are refused, so that a typo is not silently dropped."""


class NewPost(Form):
    body: str
    kind: Kind = Kind.UPDATE
    headline: str | None = None
    key: bool = False
    pinned: bool = False
    tags: list[str] = []
    session: str | None = None
    media: list[str] = []
    captured_at: datetime | None = None


class PostChange(Form):
    body: str | msgspec.UnsetType = msgspec.UNSET
    kind: Kind | msgspec.UnsetType = msgspec.UNSET
    headline: str | msgspec.UnsetType | None = msgspec.UNSET
    key: bool | msgspec.UnsetType = msgspec.UNSET
    pinned: bool | msgspec.UnsetType = msgspec.UNSET
    tags: list[str] | msgspec.UnsetType = msgspec.UNSET
    session: str | msgspec.UnsetType | None = msgspec.UNSET
    media: list[str] | msgspec.UnsetType = msgspec.UNSET
    captured_at: datetime | msgspec.UnsetType | None = msgspec.UNSET


class NewBlog(Form):
    slug: str
    title: str
    summary: str | None = None
    venue: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    timezone: str = "UTC"
    language: str = "en"


class BlogChange(Form):
    title: str | msgspec.UnsetType = msgspec.UNSET
    state: str | msgspec.UnsetType = msgspec.UNSET
    summary: str | msgspec.UnsetType | None = msgspec.UNSET
    venue: str | msgspec.UnsetType | None = msgspec.UNSET
    starts_at: datetime | msgspec.UnsetType | None = msgspec.UNSET
    ends_at: datetime | msgspec.UnsetType | None = msgspec.UNSET
    timezone: str | msgspec.UnsetType = msgspec.UNSET
    language: str | msgspec.UnsetType = msgspec.UNSET


class NewInvitation(Form):
    role: str = "reporter"
    name: str | None = None
    uses: Annotated[int, msgspec.Meta(ge=1)] = 1
    expires_in_seconds: Annotated[int, msgspec.Meta(ge=1)] | None = None


class Joining(Form):
    secret: str
    name: str


class RoleChange(Form):
    role: str


async def read(request: Request, form: type[_Form]) -> _Form:
    """The request's JSON body as `form`.

    Raises: WrongType, Unreadable, Invalid.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise WrongType("Send the body as application/json.")
    try:
        value = orjson.loads(await bounded(request))
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"The body isn't JSON: {error}.") from None
    return converted(value, form)


async def bounded(request: Request) -> bytes:
    """The request's body. Raises: TooLarge, before more than the bound was read."""
    size = 0
    chunks: list[bytes] = []
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_MOST_BYTES:
            raise TooLarge("The body is too large: at most 1 MiB is taken here.")
        chunks.append(chunk)
    return b"".join(chunks)


async def form(request: Request) -> dict[str, str]:
    """The fields of an HTML form. Raises: TooLarge, WrongType, Unreadable."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        raise WrongType("Send the form as application/x-www-form-urlencoded.")
    try:
        text = (await bounded(request)).decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=64))
    except ValueError:
        raise Unreadable("The form can't be read.") from None


def converted(value: object, form: type[_Form]) -> _Form:
    """A decoded value as `form`. Raises: Invalid, naming the field."""
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        raise Invalid(_field_error(str(error))) from None


def _field_error(text: str) -> FieldError:
    message, _, path = text.partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    if "unknown field" in message or "missing required field" in message:
        field = message.rpartition("`")[0].rpartition("`")[2]
        message = "is not taken here" if "unknown" in message else "is missing"
    return FieldError(field or "body", _lowered(message))


def _lowered(message: str) -> str:
    return message[:1].lower() + message[1:]


def changed(form: msgspec.Struct) -> dict[str, object]:
    """The fields of a change that were given."""
    return {
        name: value
        for name in form.__struct_fields__
        if (value := getattr(form, name)) is not msgspec.UNSET
    }


def in_utc(field: str, moment: datetime | None) -> datetime | None:
    """`moment` in UTC. Raises: Invalid where it names no offset from UTC."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise Invalid(FieldError(field, "must say its offset from UTC, like 2026-11-28T09:30:00Z"))
    # Pages show it in the blog's zone: at the ends of the calendar there is none.
    if not EARLIEST <= moment <= LATEST:
        raise Invalid(FieldError(field, f"must lie in the years {EARLIEST.year} to {LATEST.year}"))
    return moment.astimezone(UTC)


def idempotency_key(request: Request) -> str | None:
    """The request's `Idempotency-Key`. Raises: Invalid."""
    key = request.headers.get("idempotency-key")
    return checked_key(key) if key is not None else None


def names_revision(request: Request, revision: int) -> bool:
    """Whether `If-Match` names this revision (RFC 9110, section 13.1.1).

    A weak tag counts too: proxies that compress weaken it, and it names the same revision.

    Raises: ConditionMissing.
    """
    condition = request.headers.get("if-match")
    if condition is None:
        raise ConditionMissing(
            "Say with If-Match which revision you are changing: the ETag of the post you loaded."
        )
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in condition.split(",")}
    return str(revision) in tags or condition.strip() == "*"
