"""Each page is whole without script, safe under its policy, and says in HTML what went wrong."""

from __future__ import annotations

import re
import secrets
import struct
from collections.abc import Iterator
from datetime import datetime
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree as ET

import httpx2
import pytest

from liveblog.store.log import MOMENTS_MOST
from liveblog.web import pages
from liveblog.web.render import STATIC
from tests.integration.cast import NOBODY, Player, Stage, assert_problem

ATOM = "{http://www.w3.org/2005/Atom}"
VOID = set("area base br col embed hr img input link meta source track wbr".split())
# Each would act, if a page put it out as it came in.
PAYLOAD = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}"


class Page(HTMLParser):
    """A page as a browser takes it apart, and what is wrong with it as HTML."""

    def __init__(self, answer: httpx2.Response) -> None:
        super().__init__(convert_charrefs=True)
        self.answer = answer
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.inline: list[str] = []
        self._open: list[str] = []
        self.feed(answer.text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> crosses another element"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in {"script", "style"} and data.strip():
            self.inline.append(data)
        self.text += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and wanted.items() <= attributes.items()
        ]

    def one(self, tag: str, **wanted: str) -> dict[str, str]:
        found = self.all(tag, **wanted)
        assert len(found) == 1, f"{len(found)} of <{tag} {wanted}>"
        return found[0]

    def meta(self, name: str) -> str:
        return self.one("meta", property=name)["content"]

    @property
    def posts(self) -> list[str]:
        return [
            attributes["data-id"] for attributes in self.all("article") if "data-id" in attributes
        ]

    def fields(self) -> dict[str, str]:
        """What a browser would send of the page's form if nothing were typed."""
        return {
            attributes["name"]: attributes.get("value", "")
            for attributes in self.all("input")
            if attributes.get("name") and attributes.get("type") in {None, "text", "hidden"}
        }


async def page(stage: Stage, path: str, who: Player = NOBODY, status: int = 200) -> Page:
    answer = await stage.http.get(path, headers={"Accept": "text/html", **cookie(who)})
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return Page(answer)


def cookie(who: Player) -> dict[str, str]:
    return who.cookie() if who.token else {}


async def submitted(
    stage: Stage,
    path: str,
    fields: dict[str, str],
    who: Player = NOBODY,
    origin: str | None = None,
) -> httpx2.Response:
    """A form as a browser without script sends it."""
    sent = {"Accept": "text/html", "Origin": origin or stage.server.url, **cookie(who)}
    return await stage.http.post(path, data=fields, headers=sent)


PAGES = (
    "/",
    "/SLUG",
    "/SLUG?before=3",
    "/SLUG/posts/POST",
    "/SLUG/screen",
    "/SLUG/write",
    "/join",
    "/nothing-here",
)


async def each_page(stage: Stage, who: Player) -> list[Page]:
    post = await stage.publish(body="One https://c.org", headline="Key", key=True, tags=["a"])
    await stage.publish(body="Two", kind="announcement", pinned=True)
    await stage.publish(body="Three", kind="quote", captured_at="2026-11-23T10:00:00Z")
    return [
        await page(
            stage,
            path.replace("SLUG", stage.slug).replace("POST", post["id"]),
            who,
            404 if path == "/nothing-here" else 200,
        )
        for path in PAGES
    ]


async def test_every_page_stands_under_its_policy(stage: Stage) -> None:
    for found in await each_page(stage, await stage.player("editor")):
        where = found.answer.url.path
        policy = found.answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert found.inline == [], where
        for tag, attributes in found.elements:
            assert "style" not in attributes, f"{where}: <{tag} style>"
            assert not any(name.startswith("on") for name in attributes), f"{where}: <{tag} on…>"
            for name in ("src", "href", "action", "poster", "data", "srcset"):
                assert not attributes.get(name, "").lower().startswith(("javascript:", "data:"))
            if tag == "script":
                assert attributes["src"].startswith("/static/"), where
            if tag == "link" and attributes["rel"] in {
                "stylesheet",
                "icon",
                "manifest",
                "modulepreload",
            }:
                assert attributes["href"].startswith("/static/"), where
            if tag == "form":
                assert attributes["action"].startswith("/"), where
        assert found.answer.headers["x-content-type-options"] == "nosniff"


async def test_every_page_is_sound_html_in_its_language(stage: Stage) -> None:
    await stage.call(stage.owner, "PATCH", "", {"language": "fi"})

    for found in await each_page(stage, await stage.player("editor")):
        where = found.answer.url.path
        assert found.answer.text.lower().startswith("<!doctype html>"), where
        language = found.one("html")["lang"]
        assert language == ("fi" if where.startswith(f"/{stage.slug}") else "en"), where
        assert found.one("meta", name="viewport")["content"].startswith("width=device-width")
        assert len(found.all("title")) >= 1
        assert len(found.all("h1")) == 1, where
        assert len(found.all("main")) == 1, where
        ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
        assert sorted(ids) == sorted(set(ids)), where
        for _, attributes in found.elements:
            for name in ("aria-labelledby", "aria-describedby", "aria-controls", "for"):
                for id in attributes.get(name, "").split():
                    assert id in ids, f"{where}: {name}={id}"


async def test_everything_that_a_page_names_is_there(stage: Stage) -> None:
    seen: set[str] = set()
    for found in await each_page(stage, await stage.player("editor")):
        for tag, attributes in found.elements:
            address = attributes.get("href") or attributes.get("src") or ""
            target = urlsplit(urljoin(str(found.answer.url), address))
            if (
                not address
                or address.startswith("#")
                or target.netloc != urlsplit(stage.server.url).netloc
                or tag == "form"
            ):
                continue
            seen.add(target._replace(fragment="").geturl())
    assets = {address for address in seen if "/static/" in address}

    assert len(assets) >= 4
    for address in seen:
        answer = await stage.http.get(address, follow_redirects=True)
        assert answer.status_code == 200, address
    for address in assets:
        answer = await stage.http.get(address)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable", address
        # So are the modules that a module imports: by an address relative to its own.
        for imported in re.findall(r"""(?:from|import) ["'](.+?)["']""", answer.text):
            module = await stage.http.get(urljoin(address, imported))
            assert module.status_code == 200
            assert "immutable" in module.headers["cache-control"]


async def test_an_asset_by_an_older_digest_is_there_and_not_kept(stage: Stage) -> None:
    """A page from before a deploy still loads what it imports late."""
    now = await stage.http.get("/static/js/cursor.js")
    older = await stage.http.get("/static/0123456789/js/cursor.js")

    assert (now.status_code, older.status_code) == (200, 200)
    assert older.text == now.text
    assert now.headers["cache-control"] == older.headers["cache-control"] == "no-cache"


async def test_every_icon_that_a_page_names_is_drawn(stage: Stage) -> None:
    drawn: dict[str, str] = {}
    for found in await each_page(stage, await stage.player("editor")):
        for attributes in found.all("use"):
            address, _, name = attributes["href"].partition("#")
            if address not in drawn:
                drawn[address] = (await stage.http.get(address)).text
            assert f'id="{name}"' in drawn[address], f"{found.answer.url.path}: {name}"


async def test_every_page_can_be_shared(stage: Stage) -> None:
    post = await stage.publish(body="The **words**", headline="The headline")
    await stage.call(stage.owner, "PATCH", "", {"title": "The title", "summary": "The summary"})
    origin = stage.server.url

    home, feed, one = [
        await page(stage, path)
        for path in ("/", f"/{stage.slug}", f"/{stage.slug}/posts/{post['id']}")
    ]

    assert home.meta("og:url") == f"{origin}/"
    assert (feed.meta("og:title"), feed.meta("og:description")) == ("The title", "The summary")
    assert feed.meta("og:url") == f"{origin}/{stage.slug}"
    assert "The headline" in one.meta("og:title")
    assert "The words" in one.meta("og:description")
    assert one.meta("og:url") == post["url"]
    assert one.meta("og:type") == "article"
    for found in (home, feed, one):
        assert found.meta("og:title")
        assert found.one("link", rel="canonical")["href"] == found.meta("og:url")
    types = {link["type"]: link["href"] for link in feed.all("link", rel="alternate")}
    assert types["application/atom+xml"].endswith(f"/{stage.slug}/feed.atom")
    assert types["application/feed+json"].endswith(f"/{stage.slug}/feed.json")


async def test_every_page_has_what_a_shared_link_shows(stage: Stage) -> None:
    for found in await each_page(stage, await stage.player("editor")):
        where = found.answer.url.path
        for name in ("title", "type", "site_name", "description", "url", "image:alt"):
            assert found.meta(f"og:{name}"), f"{where}: og:{name}"
        assert found.one("meta", name="description")["content"], where
        picture = await stage.http.get(found.meta("og:image"))
        assert picture.headers["content-type"] == "image/png"
        size = struct.unpack(">II", picture.content[16:24])
        assert size == (int(found.meta("og:image:width")), int(found.meta("og:image:height")))


async def test_what_people_typed_is_text_on_every_page(stage: Stage) -> None:
    ana = await stage.player("editor", PAYLOAD[:80])
    await stage.publish(
        ana, body=PAYLOAD, headline=PAYLOAD, tags=[PAYLOAD[:50]], session=PAYLOAD, key=True
    )
    await stage.call(
        stage.owner, "PATCH", "", {"title": PAYLOAD, "summary": PAYLOAD, "venue": PAYLOAD}
    )

    for found in await each_page(stage, ana):
        where = found.answer.url.path
        assert "alert(1)" not in "".join(found.inline)
        assert not [tag for tag, attributes in found.elements if "onerror" in attributes], where
        assert not [image for image in found.all("img") if image.get("src") == "x"], where
        assert "49" not in re.findall(r"onerror=alert\(1\)>(\w*)", found.text), where
    feed = await page(stage, f"/{stage.slug}")
    assert PAYLOAD in feed.text


# -- the feed without script


async def test_a_feed_is_readable_without_script_and_older_posts_are_a_link(stage: Stage) -> None:
    ids = [(await stage.publish(body=f"post {number}"))["id"] for number in range(65)]
    found: list[str] = []
    path: str | None = f"/{stage.slug}"
    while path is not None:
        part = await page(stage, path)
        found += part.posts
        older = [a["href"] for a in part.all("a") if "before=" in a.get("href", "")]
        assert len(set(older)) <= 1
        path = older[0] if older else None

    assert found == list(reversed(ids))


async def test_a_page_goes_on_from_its_own_cursor(stage: Stage) -> None:
    await stage.publish(body="one")
    paths = (f"/{stage.slug}", f"/{stage.slug}/screen")
    cursors = [
        {
            attributes["data-cursor"]
            for _, attributes in (await page(stage, path)).elements
            if "data-cursor" in attributes
        }
        for path in paths
    ]
    post = await stage.publish(body="two")

    for (cursor,) in cursors:
        answer = await stage.http.get(f"{stage.api}/entries?after={cursor}&format=html&wait=5")
        (entry,) = answer.json()["entries"]
        assert entry["id"] == post["id"]
        assert f'id="p-{post["id"]}"' in entry["html"]


async def test_one_template_renders_a_post_for_page_and_frame(stage: Stage) -> None:
    start = (await stage.http.get(f"{stage.api}/posts")).json()["cursor"]
    await stage.publish(body="Doors **open**", headline="Now", key=True, tags=["hall"])

    answer = await stage.http.get(f"{stage.api}/entries?after={start}&format=html")

    (entry,) = answer.json()["entries"]
    squeezed = re.sub(r"\s+", " ", (await page(stage, f"/{stage.slug}")).answer.text)
    assert re.sub(r"\s+", " ", entry["html"]) in squeezed


@pytest.mark.parametrize("state", ["upcoming", "live", "paused", "ended"])
async def test_every_state_is_said_also_where_nothing_was_posted(stage: Stage, state: str) -> None:
    change = {"state": state, "starts_at": "2031-11-28T09:30:00Z", "timezone": "Europe/Helsinki"}
    await stage.call(stage.owner, "PATCH", "", change)

    for path in (f"/{stage.slug}", f"/{stage.slug}/screen"):
        found = await page(stage, path)
        word = {"upcoming": "11:30", "live": "On now", "paused": "Paused", "ended": "Ended"}[state]
        assert word in found.text, path
        assert "0 reading" in found.text or state == "live"
    assert stage.slug in (await page(stage, "/")).answer.text


@pytest.mark.parametrize("state", ["upcoming", "live", "paused", "ended"])
async def test_a_page_promises_nothing_that_only_a_script_could_keep(
    stage: Stage, state: str
) -> None:
    await stage.call(stage.owner, "PATCH", "", {"title": "T", "state": state})
    for path in (f"/{stage.slug}", f"/{stage.slug}?before=9", f"/{stage.slug}/screen"):
        found = await page(stage, path)
        for claim in ("Live", "onnected", "by itself", "by themselves"):
            assert claim not in found.text, f"{path}: {claim}"


def test_a_qr_code_is_drawn_in_the_pages_own_ink() -> None:
    drawing = ET.fromstring(pages.qr("https://live.example.org/live"))

    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert "width" not in drawing.attrib
    (path,) = drawing
    assert path.attrib["stroke"] == "currentColor"


async def test_a_blog_far_away_in_time_is_shown(stage: Stage) -> None:
    for moment in ("1900-01-01T00:00:00Z", "2999-12-30T23:00:00Z"):
        change = {"starts_at": moment, "timezone": "Pacific/Kiritimati", "state": "upcoming"}
        assert (await stage.call(stage.owner, "PATCH", "", change)).status_code == 200
        for path in ("/", f"/{stage.slug}", f"/{stage.slug}/screen"):
            await page(stage, path)


async def test_as_many_key_moments_are_listed_as_the_page_keeps(stage: Stage) -> None:
    source = (STATIC / "js" / "moments.js").read_text("utf-8")
    kept = re.search(r"const MOST = (\d+);", source)
    assert kept is not None
    assert int(kept[1]) == MOMENTS_MOST
    for number in range(51):
        await stage.publish(body=f"post {number}", key=True)

    found = await page(stage, f"/{stage.slug}")

    assert len([a for a in found.all("a") if "#p-" in a.get("href", "")]) == 51


async def test_a_key_moment_keeps_the_name_of_its_kind(stage: Stage) -> None:
    await stage.publish(body="Move.", kind="announcement", key=True)

    found = await page(stage, f"/{stage.slug}")

    assert "Key moment" in found.text
    assert "Announcement" in found.text


# -- errors


@pytest.mark.parametrize(
    "path, status",
    [
        ("/no-such-blog", 404),
        ("/no-such-blog/posts/x", 404),
        ("/SLUG/posts/x", 404),
        ("/SLUG/nothing", 404),
        ("/SLUG?before=x", 422),
        ("/no-such-blog/screen", 404),
        ("/no-such-blog/write", 404),
        ("/no-such-blog/feed.atom", 404),
        ("/no-such-blog/live", 404),
        ("/SLUG/live", 406),
        ("/static/nothing.css", 404),
        ("/SLUG/desk", 404),
        ("/x", 404),
    ],
)
async def test_an_error_is_a_page_for_people_and_a_document_for_programs(
    stage: Stage, path: str, status: int
) -> None:
    path = path.replace("SLUG", stage.slug)

    for_program = await stage.http.get(path, headers={"Accept": "application/json"})
    assert_problem(for_program, status)
    if status != 406:
        for_person = await page(stage, path, status=status)
        assert [a for a in for_person.all("a") if a["href"] in {"/", f"/{stage.slug}"}]
        assert "x-content-type-options" in for_person.answer.headers


async def test_the_api_answers_programs_whatever_they_accept(stage: Stage) -> None:
    answer = await stage.http.get("/api/blogs/no-such-blog", headers={"Accept": "text/html"})

    assert_problem(answer, 404)


async def test_another_method_than_a_page_takes_is_405(stage: Stage) -> None:
    answer = await stage.http.post(f"/{stage.slug}", headers={"Accept": "text/html"})

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert Page(answer).all("h1")


# -- forms without script


async def test_an_invitation_is_redeemed_without_script(stage: Stage) -> None:
    secret = await stage.secret("reporter")
    form = await page(stage, "/join")
    assert form.answer.headers["cache-control"] == "no-store"
    assert form.one("form")["method"].lower() == "post"
    assert {"secret", "name"} <= set(form.fields())

    link = f"{stage.server.url}/join#{secret}"
    answer = await submitted(stage, "/join", {**form.fields(), "secret": link, "name": "Ana"})

    assert (answer.status_code, answer.headers["location"]) == (303, f"/{stage.slug}/write?joined")
    token = answer.headers["set-cookie"].partition(";")[0].partition("=")[2]
    me = await stage.http.get("/api/me", headers=Player(token=token).cookie())
    assert me.json()["roles"] == {stage.slug: "reporter"}


async def test_a_joining_form_sent_again_under_another_name_lets_nobody_in_as_the_first(
    stage: Stage,
) -> None:
    sent = {"secret": await stage.secret(uses=3), "key": "same"}
    first = await submitted(stage, "/join", {**sent, "name": "Ann"})

    second = await submitted(stage, "/join", {**sent, "name": "Bob"})

    assert (first.status_code, second.status_code) == (303, 422)
    assert "set-cookie" not in second.headers
    assert "Somebody else joined" in second.text


async def test_a_dead_secret_is_said_by_the_form_and_the_name_is_kept(stage: Stage) -> None:
    answer = await submitted(stage, "/join", {"secret": "live.x.y", "name": "Ana María"})

    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    again = Page(answer)
    assert again.fields()["name"] == "Ana María"
    assert "Ask whoever sent it" in again.text


async def test_a_name_is_asked_for_and_the_invitation_not_used(stage: Stage) -> None:
    secret = await stage.secret()

    answer = await submitted(stage, "/join", {"secret": secret, "name": "  "})

    assert answer.status_code == 422
    assert "must not be empty" in Page(answer).text
    assert (await stage.joined(secret)).id


async def test_no_form_is_taken_from_another_site(stage: Stage) -> None:
    secret, ana = await stage.secret(), await stage.player("reporter")
    boss = await stage.joined(stage.server.owner_token, "Boss")
    before = await stage.seen()
    evil = "https://evil.example"

    joining = await submitted(stage, "/join", {"secret": secret, "name": "Eve"}, origin=evil)
    posting = await submitted(stage, f"/{stage.slug}/write", {"body": "x"}, ana, evil)
    making = await submitted(stage, "/", {"slug": "evil", "title": "x"}, boss, evil)

    assert [each.status_code for each in (joining, posting, making)] == [403] * 3
    assert "set-cookie" not in joining.headers
    assert await stage.seen() == before


@pytest.mark.parametrize(
    "role, status", [("anonymous", 303), ("contributor", 403), ("stranger", 403)]
)
async def test_the_composer_is_for_reporters(stage: Stage, role: str, status: int) -> None:
    who = await stage.player(role)
    before = await stage.seen()

    shown = await stage.http.get(
        f"/{stage.slug}/write", headers={"Accept": "text/html", **cookie(who)}
    )
    sent = await submitted(stage, f"/{stage.slug}/write", {"body": "x"}, who)

    assert shown.status_code == status
    if status == 303:
        assert shown.headers["location"] == "/join?why=first"
    assert sent.status_code == (401 if role == "anonymous" else 403)
    if role != "stranger":
        assert await stage.seen() == before


async def test_words_that_nobody_signed_in_sent_come_back_in_the_composer(stage: Stage) -> None:
    path = f"/{stage.slug}/write"
    typed = {"body": "The words", "headline": "The headline", "kind": "quote", "tags": "a"}

    refused = await submitted(stage, path, typed)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    form = Page(refused)
    assert "Nothing is lost" in form.text
    dead = {**form.fields(), "body": "The words", "secret": "live.x.y", "name": "Ana"}
    again = Page(await submitted(stage, "/join", dead))
    assert "The words" in again.text
    secret = await stage.secret()
    answer = await submitted(stage, "/join", {**again.fields(), **dead, "secret": secret})

    assert answer.status_code == 200
    composer = Page(answer)
    assert "not posted yet" in composer.text
    assert "The words" in composer.text
    assert composer.fields()["headline"] == "The headline"
    assert composer.one("input", value="quote").get("checked") == ""
    assert (await stage.http.get(f"{stage.api}/posts")).json()["posts"] == []
    token = answer.headers["set-cookie"].partition(";")[0].partition("=")[2]
    sent = {**composer.fields(), "body": "The words"}
    assert (await submitted(stage, path, sent, Player(token=token))).status_code == 303


async def test_words_of_somebody_without_the_right_are_kept(stage: Stage) -> None:
    who = await stage.player("contributor")

    answer = await submitted(stage, f"/{stage.slug}/write", {"body": "The words"}, who)

    assert answer.status_code == 403
    form = Page(answer)
    assert "The words" in form.text
    assert "yours is contributor" in form.text
    fields = {**form.fields(), "body": "The words", "secret": await stage.secret()}
    assert "The words" in Page(await submitted(stage, "/join", fields, who)).text


async def test_a_program_that_may_not_write_is_told_as_ever(stage: Stage) -> None:
    answer = await stage.http.post(f"/{stage.slug}/write", data={"body": "x"})

    assert_problem(answer, 401)


async def test_who_is_signed_in_can_sign_out_without_script(stage: Stage) -> None:
    ana, secret = await stage.player("reporter"), await stage.secret()
    joining = await page(stage, "/join", ana)
    assert "name" not in joining.fields()
    assert "Not Ana?" in joining.text
    writing = await page(stage, f"/{stage.slug}/write", ana)
    for form in (joining, writing):
        assert form.one("button", name="leave")

    answer = await submitted(
        stage, "/join", {"leave": ana.id, "secret": secret, "body": "Ana's"}, ana
    )

    assert answer.status_code == 200
    assert "Max-Age=0" in answer.headers["set-cookie"]
    out = Page(answer)
    assert "You are signed out." in out.text
    # The invitation is still there for the next; the words are to be read, and in no form.
    assert out.fields() == {"secret": secret, "name": ""}
    assert "Ana's" in out.text
    assert not out.all("textarea", name="body")
    assert (await stage.http.get("/api/me", headers=ana.cookie())).status_code == 401


async def test_a_page_from_before_signs_nobody_out_who_came_since(stage: Stage) -> None:
    ana, bo = await stage.player("reporter"), await stage.player("reporter", "Bo")

    answer = await submitted(stage, "/join", {"leave": ana.id}, bo)

    assert answer.status_code == 409
    assert "Meanwhile Bo is signed in here" in Page(answer).text
    assert "set-cookie" not in answer.headers
    for player in (ana, bo):
        assert (await stage.http.get("/api/me", headers=player.cookie())).status_code == 200


async def test_who_is_signed_in_joins_as_themselves_without_a_name(stage: Stage) -> None:
    ana, other = await stage.player("reporter"), await stage.another()

    answer = await submitted(stage, "/join", {"secret": await other.secret()}, ana)

    assert answer.headers["location"] == f"/{other.slug}/write?joined"
    token = answer.headers["set-cookie"].partition(";")[0].partition("=")[2]
    me = (await stage.http.get("/api/me", headers=Player(token=token).cookie())).json()
    assert me["person"] == {"id": ana.id, "name": "Ana"}


async def test_a_page_that_somebody_left_open_writes_in_nobody_elses_name(stage: Stage) -> None:
    ana, ben = await stage.player("reporter"), await stage.player("reporter", "Ben")
    sent = {**ben.cookie(), "Origin": stage.server.url}
    before = await stage.seen()

    answer = await stage.http.post(
        f"{stage.api}/posts", json={"body": "x"}, headers={**sent, "Liveblog-Person": ana.id}
    )

    assert_problem(answer, 401)
    assert await stage.seen() == before
    own = await stage.http.post(
        f"{stage.api}/posts", json={"body": "x"}, headers={**sent, "Liveblog-Person": ben.id}
    )
    assert own.status_code == 201


@pytest.mark.parametrize(
    "path, cookie, words",
    [
        ("/SLUG/write", "", "To write you sign in first"),
        ("/SLUG/write", "liveblog_session=dead", "You are signed out"),
        ("/SLUG/write?joined", "", "didn’t keep the cookie"),
        ("/join?why=ended", "", "You are signed out"),
        ("/join", "", ""),
        ("/join?why=nonsense", "", ""),
    ],
)
async def test_who_has_to_join_is_told_why(
    stage: Stage, path: str, cookie: str, words: str
) -> None:
    answer = await stage.http.get(
        path.replace("SLUG", stage.slug),
        headers={"Accept": "text/html", "Cookie": cookie} if cookie else {"Accept": "text/html"},
        follow_redirects=True,
    )

    assert answer.url.path == "/join"
    assert words in answer.text
    assert ("join__said" in answer.text) == bool(words)


async def test_a_post_is_written_without_script(stage: Stage) -> None:
    ana = await stage.player("reporter")
    path = f"/{stage.slug}/write"
    form = await page(stage, path, ana)
    assert len(form.fields()["key"]) >= 16

    answer = await submitted(
        stage,
        path,
        {
            **form.fields(),
            "body": "Doors\r\nopen",
            "headline": "Now",
            "kind": "announcement",
            "tags": "hall, #doors,",
            "key_moment": "on",
        },
        ana,
    )

    assert (answer.status_code, answer.headers["location"]) == (303, f"{path}?sent")
    (post,) = (await stage.http.get(f"{stage.api}/posts")).json()["posts"]
    assert (post["body"], post["headline"], post["kind"]) == ("Doors\nopen", "Now", "announcement")
    assert (post["tags"], post["key"]) == (["hall", "doors"], True)
    after = await page(stage, f"{path}?sent", ana)
    assert "Your post is live." in after.text
    assert post["id"] in after.posts
    assert after.fields()["key"] != form.fields()["key"]


async def test_a_form_that_is_sent_twice_is_one_post(stage: Stage) -> None:
    ana = await stage.player("reporter")
    path = f"/{stage.slug}/write"
    fields = {**(await page(stage, path, ana)).fields(), "body": "Once", "kind": "update"}

    answers = [await submitted(stage, path, fields, ana) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [303, 303]
    assert len((await stage.http.get(f"{stage.api}/posts")).json()["posts"]) == 1


async def test_a_form_that_is_sent_again_with_other_words_keeps_them(stage: Stage) -> None:
    ana = await stage.player("reporter")
    path = f"/{stage.slug}/write"
    fields = {**(await page(stage, path, ana)).fields(), "body": "Once", "kind": "update"}
    await submitted(stage, path, fields, ana)

    answer = await submitted(stage, path, {**fields, "body": "Other words"}, ana)

    assert answer.status_code == 422
    again = Page(answer)
    assert "Other words" in again.text
    assert "was sent before" in again.text
    second = await submitted(stage, path, {**again.fields(), "body": "Other words"}, ana)
    assert second.status_code == 303
    posts = (await stage.http.get(f"{stage.api}/posts")).json()["posts"]
    assert [post["body"] for post in posts] == ["Other words", "Once"]


@pytest.mark.parametrize(
    "field, value",
    [("body", ""), ("body", "x" * 20_001), ("headline", "x" * 201), ("kind", "poll"),
     ("tags", ",".join("abcdefghijk")), ("tags", "x" * 51), ("key", "x" * 129)],
)  # fmt: skip
async def test_what_cannot_be_posted_is_said_by_the_form_and_kept(
    stage: Stage, field: str, value: str
) -> None:
    ana = await stage.player("reporter")
    path = f"/{stage.slug}/write"
    before = await stage.seen()
    good = {"body": "The words", "headline": "The headline", "kind": "quote", "tags": "a"}

    answer = await submitted(stage, path, {**good, "key": secrets.token_hex(8), field: value}, ana)

    assert answer.status_code == 422
    again = Page(answer)
    assert ("The words" in again.text) == (field != "body")
    assert (again.fields()["headline"] == "The headline") == (field != "headline")
    assert await stage.seen() == before


async def test_an_own_post_is_changed_without_script_however_old_it_is(stage: Stage) -> None:
    ana = await stage.player("reporter")
    fields = {"headline": "Now", "tags": ["hall"], "kind": "photo", "session": "Kitchen"}
    post = await stage.publish(ana, body="Doors\n\nopen", **fields)
    for number in range(pages.COMPOSER_POSTS + 2):
        await stage.publish(body=f"{number}")
    path = f"/{stage.slug}/write"
    one = await page(stage, f"/{stage.slug}/posts/{post['id']}", ana)
    link = one.one("a", href=f"{path}?edit={post['id']}")["href"]

    form = await page(stage, link, ana)
    assert form.fields()["headline"] == "Now"
    assert "Doors\n\nopen" in form.text
    answer = await submitted(stage, path, {**form.fields(), "body": "Doors shut"}, ana)

    assert (answer.status_code, answer.headers["location"]) == (303, f"{path}?saved")
    stands = (await stage.http.get(f"{stage.api}/posts/{post['id']}")).json()
    assert (stands["body"], stands["revision"]) == ("Doors shut", 2)
    assert {name: stands[name] for name in fields} == fields


async def changing(stage: Stage) -> tuple[Player, dict[str, Any], str, dict[str, str]]:
    """A reporter, their post, and the composer's address and form with it open."""
    ana = await stage.player("reporter")
    post = await stage.publish(ana, body="One")
    path = f"/{stage.slug}/write"
    return ana, post, path, (await page(stage, f"{path}?edit={post['id']}", ana)).fields()


async def test_a_change_against_another_revision_keeps_the_words_and_asks_once(
    stage: Stage,
) -> None:
    ana, post, path, form = await changing(stage)
    await stage.call(stage.owner, "PATCH", f"posts/{post['id']}", {"body": "Two"}, If_Match='"1"')

    answer = await submitted(stage, path, {**form, "body": "Mine"}, ana)

    assert answer.status_code == 412
    again = Page(answer)
    assert "was changed meanwhile" in again.text
    assert "Mine" in again.text
    await submitted(stage, path, {**again.fields(), "body": "Mine"}, ana)
    assert (await stage.http.get(f"{stage.api}/posts/{post['id']}")).json()["body"] == "Mine"


async def test_a_change_of_a_post_that_is_gone_keeps_the_words_as_a_new_post(
    stage: Stage,
) -> None:
    ana, post, path, form = await changing(stage)
    await stage.call(stage.owner, "DELETE", f"posts/{post['id']}")

    answer = await submitted(stage, path, {**form, "body": "Mine"}, ana)

    assert answer.status_code == 404
    again = Page(answer)
    assert "Mine" in again.text
    sent = await submitted(stage, path, {**again.fields(), "body": "Mine"}, ana)
    assert sent.headers["location"] == f"{path}?sent"


async def test_an_own_post_is_removed_without_script_and_a_second_press_is_harmless(
    stage: Stage,
) -> None:
    ana = await stage.player("reporter")
    post = await stage.publish(ana, body="One")
    path = f"/{stage.slug}/write"
    await page(stage, f"{path}?edit={post['id']}", ana)

    for _ in range(2):
        answer = await submitted(stage, path, {"post": post["id"], "remove": "yes"}, ana)
        assert answer.headers["location"] == f"{path}?removed"

    assert (await stage.http.get(f"{stage.api}/posts")).json()["posts"] == []


async def test_nobody_opens_or_changes_a_post_by_the_form_that_is_not_theirs(
    stage: Stage,
) -> None:
    ana, post = await stage.player("reporter"), await stage.publish(body="The desk's")
    path = f"/{stage.slug}/write"
    before = await stage.seen()

    await page(stage, f"{path}?edit={post['id']}", ana, 403)
    await page(stage, f"{path}?edit=nothing", ana, 404)
    fields = {"post": post["id"], "revision": "1", "body": "Mine"}
    for more in ({}, {"remove": "yes"}):
        answer = await submitted(stage, path, {**fields, **more}, ana)
        assert answer.status_code == 403

    assert await stage.seen() == before
    editor = await stage.player("editor")
    assert (await submitted(stage, path, fields, editor)).status_code == 303


async def test_a_blog_is_made_without_script(stage: Stage) -> None:
    boss = await stage.joined(stage.server.owner_token, "Boss")
    form = await page(stage, "/", boss)
    assert {"title", "slug"} <= set(form.fields())
    slug = f"{stage.slug}-new"

    answer = await submitted(
        stage,
        "/",
        {
            **form.fields(),
            "title": "Plone Conference",
            "slug": slug,
            "timezone": "Europe/Helsinki",
            "starts_at": "2031-11-26T09:00",
        },
        boss,
    )

    assert (answer.status_code, answer.headers["location"]) == (303, f"/{slug}/write")
    blog = (await stage.http.get(f"/api/blogs/{slug}")).json()
    assert (blog["title"], blog["starts_at"]) == ("Plone Conference", "2031-11-26T07:00:00Z")
    assert blog["state"] == "upcoming"


@pytest.mark.parametrize(
    "field, value",
    [
        ("slug", "API"),
        ("slug", "TAKEN"),
        ("title", ""),
        ("timezone", "Mars"),
        ("starts_at", "soon"),
    ],
)
async def test_a_blog_that_cannot_be_is_said_by_the_form(
    stage: Stage, field: str, value: str
) -> None:
    boss = await stage.joined(stage.server.owner_token, "Boss")
    before = await stage.seen()
    good = {"title": "The title", "slug": f"{stage.slug}-x", "timezone": "UTC"}
    spoilt = {**good, field: stage.slug if value == "TAKEN" else value}

    answer = await submitted(stage, "/", spoilt, boss)

    assert answer.status_code == (409 if value == "TAKEN" else 422)
    assert Page(answer).fields()["title"] == spoilt["title"]
    assert await stage.seen() == before


async def test_all_that_is_wrong_with_a_new_blog_is_said_at_once_and_in_sentences(
    stage: Stage,
) -> None:
    boss = await stage.joined(stage.server.owner_token, "Boss")
    spoilt = {"title": "", "slug": "api", "timezone": "Mars", "starts_at": "soon"}

    answer = await submitted(stage, "/", spoilt, boss)

    assert answer.status_code == 422
    found = Page(answer)
    assert len(found.all("p", **{"class": "field__wrong"})) == 3
    assert "It must not be empty." in found.text
    assert "“api” is an address of the site itself; take another." in found.text
    assert "It “api”" not in found.text
    assert "It must be an IANA name like Europe/London." in found.text

    taken = await submitted(stage, "/", {"title": "T", "slug": stage.slug}, boss)
    sentence = f"There is a blog at /{stage.slug} already; take another slug."
    assert f" {sentence}<" in taken.text
    assert "It There" not in taken.text
    assert f"{sentence}." not in taken.text


async def test_the_beginning_of_a_new_blog_is_picked_on_the_venues_clock(stage: Stage) -> None:
    boss = await stage.joined(stage.server.owner_token, "Boss")

    found = await page(stage, "/", boss)

    assert found.one("input", name="starts_at")["type"] == "datetime-local"
    assert "offset" not in found.text


async def test_only_the_owner_is_offered_a_new_blog(stage: Stage) -> None:
    for role in ("anonymous", "editor"):
        who = await stage.player(role)
        assert not (await page(stage, "/", who)).all("form", action="/")
        answer = await submitted(stage, "/", {"slug": "xx", "title": "x"}, who)
        assert answer.status_code == (401 if role == "anonymous" else 403)


@pytest.mark.parametrize(
    "media_type, content, status",
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        ("text/plain", b"body=x", 415),
        ("application/x-www-form-urlencoded", b"body=%ff", 400),
        ("application/x-www-form-urlencoded", "body=é".encode(), 400),
        ("application/x-www-form-urlencoded", b"a=b&" * 100, 400),
        ("application/x-www-form-urlencoded", b"body=" + b"x" * 1_048_576, 413),
    ],
)
async def test_a_form_that_cannot_be_read_is_refused(
    stage: Stage, media_type: str, content: bytes, status: int
) -> None:
    ana = await stage.player("reporter")
    before = await stage.seen()

    for path in (f"/{stage.slug}/write", "/join"):
        answer = await stage.http.post(
            path,
            content=content,
            headers={"Content-Type": media_type, "Origin": stage.server.url, **ana.cookie()},
        )
        assert_problem(answer, status)

    assert await stage.seen() == before


# -- feeds for other programs


@pytest.fixture
async def full(stage: Stage) -> Stage:
    """A blog with posts that are hard to put into XML."""
    await stage.call(
        stage.owner, "PATCH", "", {"title": "A & <B>", "summary": "S ]]>", "language": "de"}
    )
    await stage.publish(body="Plain, and long enough that a title must be cut off somewhere " * 3)
    post = await stage.publish(
        body="**Bold** <b> & ]]> \ufffe\uffff\u0000\u000b 🚀",
        headline='"Now" & <then>',
        tags=["a & b"],
    )
    await stage.call(stage.owner, "PATCH", f"posts/{post['id']}", {"key": True}, If_Match='"1"')
    return stage


def moments(feed: ET.Element) -> Iterator[datetime]:
    for element in feed.iter():
        if element.tag in {f"{ATOM}updated", f"{ATOM}published"}:
            assert element.text is not None
            yield datetime.fromisoformat(element.text)


async def test_the_atom_feed_is_one(full: Stage) -> None:
    answer = await full.http.get(f"/{full.slug}/feed.atom")

    assert answer.headers["content-type"] == "application/atom+xml; charset=utf-8"
    feed = ET.fromstring(answer.content)
    posts = (await full.http.get(f"{full.api}/posts")).json()["posts"]
    home = f"{full.server.url}/{full.slug}"
    assert feed.tag == f"{ATOM}feed"
    assert feed.findtext(f"{ATOM}id") == home
    assert feed.findtext(f"{ATOM}title") == "A & <B>"
    assert feed.findtext(f"{ATOM}author/{ATOM}name")
    assert feed.get("{http://www.w3.org/XML/1998/namespace}lang") == "de"
    links = {link.get("rel"): link.get("href") for link in feed.findall(f"{ATOM}link")}
    assert links == {"self": f"{home}/feed.atom", "alternate": home}
    entries = feed.findall(f"{ATOM}entry")
    assert [entry.findtext(f"{ATOM}id") for entry in entries] == [post["url"] for post in posts]
    for entry, post in zip(entries, posts, strict=True):
        content = entry.find(f"{ATOM}content")
        assert content is not None
        assert (content.get("type"), content.text) == ("html", post["html"])
        assert entry.findtext(f"{ATOM}title")
        assert entry.findtext(f"{ATOM}author/{ATOM}name") == "The desk"
        assert [each.get("term") for each in entry.findall(f"{ATOM}category")] == post["tags"]
    assert entries[0].findtext(f"{ATOM}title") == '"Now" & <then>'
    assert len(entries[1].findtext(f"{ATOM}title") or "") <= 80
    assert all(moment.tzinfo for moment in moments(feed))
    newest = entries[0].findtext(f"{ATOM}updated")
    assert feed.findtext(f"{ATOM}updated") == newest
    assert newest == posts[0]["edited_at"]


async def test_the_json_feed_is_one(full: Stage) -> None:
    answer = await full.http.get(f"/{full.slug}/feed.json")

    assert answer.headers["content-type"] == "application/feed+json"
    feed = answer.json()
    posts = (await full.http.get(f"{full.api}/posts")).json()["posts"]
    home = f"{full.server.url}/{full.slug}"
    assert feed["version"] == "https://jsonfeed.org/version/1.1"
    assert (feed["title"], feed["description"], feed["language"]) == ("A & <B>", "S ]]>", "de")
    assert (feed["home_page_url"], feed["feed_url"]) == (home, f"{home}/feed.json")
    assert [(item["id"], item["content_html"], item["tags"]) for item in feed["items"]] == [
        (post["url"], post["html"], post["tags"]) for post in posts
    ]
    for item in feed["items"]:
        assert item["title"]
        assert item["authors"] == [{"name": "The desk"}]
        assert datetime.fromisoformat(item["date_published"]).tzinfo
        assert datetime.fromisoformat(item["date_modified"]).tzinfo


async def test_a_feed_of_nothing_is_one_too(stage: Stage) -> None:
    atom = ET.fromstring((await stage.http.get(f"/{stage.slug}/feed.atom")).content)

    assert atom.findtext(f"{ATOM}updated")
    assert atom.findall(f"{ATOM}entry") == []
    assert (await stage.http.get(f"/{stage.slug}/feed.json")).json()["items"] == []
