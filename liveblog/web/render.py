"""The templates, and what they can say: times in the blog's zone, plurals, icons, addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, Response

from liveblog import __version__
from liveblog.domain.blog import Blog
from liveblog.domain.post import Post
from liveblog.web.site import now, site_of

# In a wheel the assets lie inside the package, in a checkout beside it.
_PACKAGED = Path(str(files("liveblog"))) / "static"
STATIC = _PACKAGED if _PACKAGED.is_dir() else _PACKAGED.parent.parent / "static"


def _digest(folder: Path) -> str:
    whole = sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            whole.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()[:10]


# One for all of them and in the path, so that modules that import one another by relative address
# carry it on.
STATIC_DIGEST = _digest(STATIC)

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def asset(path: str) -> str:
    """The address of a file under `static/`, which changes with what is there."""
    return f"/static/{STATIC_DIGEST}/{path}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page stands: the site's origin, the path, the release."""

    origin: str
    path: str
    version: str


class Pages:
    """Renders pages and posts; one template renders a post wherever it appears."""

    def __init__(self) -> None:
        environment = Environment(
            loader=PackageLoader("liveblog.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters.update(
            clock=clock, day=day, longday=longday, iso=iso, html=Markup, plain=plain
        )
        environment.globals.update(asset=asset, plural=plural, icon=self.icon, short=short)
        self._environment = environment

    def post(self, blog: Blog, post: Post, origin: str) -> str:
        """A post's article, as the page and the frame have it."""
        template = self._environment.get_template("_post.html")
        return template.render(blog=blog, post=post, site=Place(origin, "", __version__)).strip()

    def page(
        self,
        request: HTTPConnection,
        name: str,
        context: Mapping[str, Any],
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        place = Place(site_of(request).origin(request), request.url.path, __version__)
        text = self._environment.get_template(name).render(
            {"site": place, "me": None, "now": now(), **context}
        )
        return HTMLResponse(text, status, dict(headers or {}))

    def problem(
        self, request: HTTPConnection, status: int, detail: str, headers: Mapping[str, str]
    ) -> Response:
        """An error page in the same hand as all others.

        What will pass is asked for again by the page itself, unless it answers a form: that would
        lose what was typed. The hall's screen shows no error at all; it waits.
        """
        is_read = request.scope.get("method") in {"GET", "HEAD"}
        if is_read and status >= 500 and request.url.path.endswith("/screen"):
            return self.page(request, "away.html", {}, status, headers)
        titles = {
            404: "Nothing here",
            401: "Sign in first",
            403: "Not yours to do",
            503: "Just a moment",
        }
        title = titles.get(status, "That didn't work")
        context = {
            "status": status,
            "title": title,
            "detail": detail,
            "home": "/",
            "again": is_read and status == 503,
        }
        return self.page(request, "problem.html", context, status, headers)

    def icon(self, name: str) -> Markup:
        address = asset("icons.svg")
        return Markup(
            '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>'
        ).format(address, name)


def clock(moment: datetime, zone: tzinfo) -> str:
    return f"{moment.astimezone(zone):%H:%M}"


def day(moment: datetime, zone: tzinfo) -> str:
    at = moment.astimezone(zone)
    return f"{_WEEKDAYS[at.weekday()][:3]} {at.day} {_MONTHS[at.month - 1][:3]}"


def longday(moment: datetime, zone: tzinfo) -> str:
    at = moment.astimezone(zone)
    return f"{_WEEKDAYS[at.weekday()]} {at.day} {_MONTHS[at.month - 1]} {at.year}"


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def plain(html: str) -> str:
    """The words of rendered markdown, on one line."""
    return Markup(html).striptags()  # noqa: S704 — the domain sanitised it when it was written


def plural(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def short(url: str) -> str:
    return url.partition("://")[2] or url
