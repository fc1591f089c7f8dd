"""The composer as a reporter meets it: a small phone, a bad network, a phone that is shared."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Dialog, Page, Route, expect

from tests.browser.pages import Opened, call, connected, signed_in
from tests.support import Server


async def test_a_post_whose_undo_failed_is_one_post_with_no_draft_beside_it(
    server: Server, opened: Opened
) -> None:
    page = await opened(f"{server.url}/live/write", cookie=await signed_in(server))
    await page.clock.install()
    await page.fill("textarea", "Undo me.")
    await page.get_by_role("button", name="Post", exact=True).click()
    bar = page.locator("[data-part=undo]")
    await expect(bar).to_be_visible()
    await page.context.set_offline(True)

    await bar.get_by_role("button", name="Undo").click()

    row = page.locator("[data-part=thread] li")
    await expect(row).to_have_count(1)
    await expect(row).to_contain_text("Not taken back yet, still live.")
    await expect(row.get_by_role("button")).to_have_text(["Try again"])
    await expect(bar).to_contain_text("Not taken back yet, still live.")

    await page.locator("textarea").focus()
    await page.clock.run_for(16_000)
    await expect(bar).to_be_hidden()
    await page.context.set_offline(False)

    await expect(row.get_by_role("button")).to_have_count(0)
    await expect(row).to_have_count(1)
    await expect(row).to_contain_text("Live")
    posts = (await server.get("/api/blogs/live/posts")).json()["posts"]
    assert [post["body"] for post in posts] == ["Undo me."]


async def test_an_undo_that_failed_can_be_tried_again_from_the_thread(
    server: Server, opened: Opened
) -> None:
    page = await opened(f"{server.url}/live/write", cookie=await signed_in(server))
    await page.fill("textarea", "Undo me.")
    await page.get_by_role("button", name="Post", exact=True).click()
    await expect(page.locator("[data-part=undo]")).to_be_visible()
    await page.context.set_offline(True)
    await page.get_by_role("button", name="Undo").click()
    again = page.locator("[data-part=thread]").get_by_role("button", name="Try again")
    await expect(again).to_be_visible()
    await page.context.set_offline(False)

    await again.click()

    await expect(page.locator("textarea")).to_have_value("Undo me.")
    await expect(page.locator("[data-part=thread] li")).to_have_count(0)
    assert (await server.get("/api/blogs/live/posts")).json()["posts"] == []


@pytest.mark.parametrize("width", [320, 360])
async def test_with_the_keyboard_up_the_button_is_in_sight_and_nothing_lies_over_another(
    server: Server, opened: Opened, width: int
) -> None:
    page = await opened(
        f"{server.url}/live/write",
        cookie=await signed_in(server),
        viewport={"width": width, "height": 330},
        has_touch=True,
    )
    await page.locator("textarea").focus()
    await in_sight(page, "Post")
    await page.get_by_role("button", name="Headline").click()
    await in_sight(page, "Post")
    await page.fill("#headline", "A headline")
    await page.get_by_role("button", name="Tags").click()
    await page.fill("#tags", "hall")
    await page.fill("#body", "It has some length to it. " * 12)
    await in_sight(page, "Post")
    await page.get_by_role("button", name="Post", exact=True).click()

    await page.locator("#posts").get_by_role("button", name="Edit").click()

    await expect(page.locator("textarea")).to_be_focused()
    await in_sight(page, "Save")


async def in_sight(page: Page, button: str) -> None:
    """The button can be pressed where it is; text and fields stand one below another."""
    post = page.get_by_role("button", name=button, exact=True)
    await expect(post).to_be_in_viewport(ratio=1)
    assert await post.evaluate(
        """button => {
          const { left, top, width, height } = button.getBoundingClientRect();
          return document.elementFromPoint(left + width / 2, top + height / 2) === button;
        }"""
    )
    over = await page.evaluate(
        """() => {
          const shown = ["textarea", "#headline", "#tags"]
            .map((name) => document.querySelector(name).getBoundingClientRect())
            .filter(({ height }) => height);
          return shown.some((one, place) => place && one.top < shown[place - 1].bottom - 1);
        }"""
    )
    assert not over


async def test_an_own_post_that_is_far_down_is_changed_and_removed_from_its_own_page(
    server: Server, opened: Opened
) -> None:
    session = await signed_in(server)
    ana = {"Cookie": f"liveblog_session={session}", "Origin": server.url, "Authorization": ""}
    made = await call(server, "POST", "/api/blogs/live/posts", json={"body": "Mine."}, headers=ana)
    one = f"/api/blogs/live/posts/{made.json()['id']}"
    for number in range(22):
        await server.post(f"Post {number}.")
    page = await opened(f"{server.url}/live/write", cookie=session)
    await page.fill("textarea", "A draft.")
    await page.goto(f"{server.url}/live/posts/{made.json()['id']}")

    await page.get_by_role("link", name="Change it").click()

    await expect(page.locator("textarea")).to_have_value("Mine.")
    await expect(page).to_have_url(f"{server.url}/live/write")
    # The draft that stood there is set aside, and a reload keeps what is being changed.
    await expect(page.locator("[data-part=thread]")).to_contain_text("A draft.")
    await page.fill("textarea", "Mine, mended.")
    await page.reload()
    await expect(page.locator("textarea")).to_have_value("Mine, mended.")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("[data-part=thread]")).to_contain_text("Mine, mended.")
    await expect(page.locator("textarea")).to_have_value("")
    assert (await server.get(one)).json()["body"] == "Mine, mended."

    await page.goto(f"{server.url}/live/write?edit={made.json()['id']}")
    await page.get_by_text("Remove", exact=True).first.click()
    await page.get_by_role("button", name="Yes, remove").first.click()
    await expect(page.locator("textarea")).to_have_value("")
    assert (await server.get(one)).status_code == 404


async def test_the_next_person_on_a_phone_signs_the_first_one_out_and_posts_under_no_other_name(
    server: Server, opened: Opened
) -> None:
    invited = (await call(server, "POST", "/api/blogs/live/invitations", json={})).json()
    page = await opened(f"{server.url}/live/write", cookie=await signed_in(server))
    await page.fill("textarea", "Half of Ana's.")
    left_open = await page.context.new_page()
    await left_open.goto(f"{server.url}/live/write")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("button", name="1 unsent stays here")).to_be_visible()
    await page.goto(invited["url"])
    await expect(page.get_by_label("Your name")).to_have_count(0)
    await expect(page.get_by_role("button", name="Join as Ana")).to_be_visible()

    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_text("You are signed out.")).to_be_visible()
    await page.get_by_label("Your name").fill("Ben")
    await page.get_by_role("button", name="Join", exact=True).click()

    await page.wait_for_url("**/live/write")
    await expect(page.locator("[data-part=thread]")).to_contain_text("Left on this phone by Ana")
    await page.fill("textarea", "Ben's.")
    await page.get_by_role("button", name="Post", exact=True).click()
    await expect(page.locator("#posts article").first).to_contain_text("from Ben")
    # What Ana left open posts nothing as Ben.
    await left_open.fill("textarea", "Ana's, from the page before.")
    await left_open.get_by_role("button", name="Post", exact=True).click()
    await expect(left_open.locator("[data-part=thread]")).to_contain_text("You are signed out.")
    posts = (await server.get("/api/blogs/live/posts")).json()["posts"]
    assert [(post["body"], post["author"]["name"]) for post in posts] == [("Ben's.", "Ben")]


async def test_without_cookies_it_is_said_before_the_invitation_is_used(
    server: Server, opened: Opened
) -> None:
    invited = (await call(server, "POST", "/api/blogs/live/invitations", json={})).json()
    page = await opened("about:blank")
    await page.add_init_script(
        "Object.defineProperty(document, 'cookie', { get: () => '', set: () => {} })"
    )
    await page.goto(invited["url"])
    await page.get_by_label("Your name").fill("Ana")
    await page.get_by_role("button", name="Join").click()

    await expect(page.get_by_text("the invitation isn’t used yet")).to_be_visible()

    joining = {"secret": invited["secret"], "name": "Ana"}
    assert (await call(server, "POST", "/api/join", json=joining)).status_code == 200


async def test_a_post_is_one_row_also_while_its_answer_is_slower_than_the_stream(
    server: Server, opened: Opened
) -> None:
    page = await opened(f"{server.url}/live/write", cookie=await signed_in(server))
    await connected(page)
    answered = asyncio.Event()

    async def slow(route: Route) -> None:
        answer = await route.fetch()
        await answered.wait()
        await route.fulfill(response=answer)

    await page.route("**/api/blogs/live/posts", slow)
    await page.fill("textarea", "One row.")
    await page.get_by_role("button", name="Post", exact=True).click()
    await expect(page.locator("#posts article")).to_have_count(1)
    row = page.locator("[data-part=thread] li")
    await expect(row).to_have_count(1)
    await expect(row).to_contain_text("Sending")

    answered.set()

    await expect(row).to_contain_text("Live")
    await expect(row).to_have_count(1)


async def test_leaving_warns_where_the_phone_keeps_nothing(server: Server, opened: Opened) -> None:
    cookie = await signed_in(server)
    asked: list[str] = []

    async def answer(dialog: Dialog) -> None:
        asked.append(dialog.type)
        await dialog.accept()

    for deny in (False, True):
        page = await opened("about:blank")
        if deny:
            await page.add_init_script(
                "Object.defineProperty(window, 'localStorage', { get() { throw new Error(); } })"
            )
        session = {"name": "liveblog_session", "value": cookie, "url": server.url}
        await page.context.add_cookies([session])
        await page.goto(f"{server.url}/live/write")
        page.on("dialog", answer)
        await page.locator("textarea").press_sequentially("Not kept")
        await page.goto(f"{server.url}/live")
        assert asked == (["beforeunload"] if deny else [])


async def test_text_stands_in_its_own_direction(server: Server, opened: Opened) -> None:
    page = await opened(f"{server.url}/live/write", cookie=await signed_in(server))
    arabic = "مرحبا بكم"
    await page.get_by_role("button", name="Headline").click()
    for field in ("#body", "#headline"):
        await page.fill(field, arabic)
        await expect(page.locator(field)).to_have_css("direction", "rtl")

    await page.get_by_role("button", name="Post", exact=True).click()

    line = page.locator("[data-part=thread] [data-part=line]")
    await expect(line).to_have_text(arabic)
    await expect(line).to_have_css("direction", "rtl")


async def test_words_that_a_plain_form_sent_too_late_are_in_the_editor_after_joining(
    server: Server, opened: Opened
) -> None:
    invited = (await call(server, "POST", "/api/blogs/live/invitations", json={})).json()
    page = await opened(f"{server.url}/live/write", cookie=await signed_in(server))
    await page.context.clear_cookies()
    # As a browser sends it whose scripts haven't arrived yet.
    await page.evaluate(
        """() => {
          document.querySelector("#body").value = "Not lost.";
          HTMLFormElement.prototype.submit.call(document.querySelector("#composer"));
        }"""
    )
    await expect(page.get_by_label("Your words")).to_have_value("Not lost.")
    await page.get_by_label("Your link or code").fill(invited["url"])
    await page.get_by_label("Your name").fill("Ana")

    await page.get_by_role("button", name="Join").click()

    await expect(page.get_by_role("button", name="Post", exact=True)).to_be_visible()
    await expect(page).to_have_url(f"{server.url}/live/write")
    await page.reload()
    await expect(page.locator("#body")).to_have_value("Not lost.")
    await page.get_by_role("button", name="Post", exact=True).click()
    await expect(page.locator("#posts article")).to_contain_text("Not lost.")


async def test_a_name_corrected_after_a_lost_answer_is_told_the_first_one_stands(
    server: Server, opened: Opened
) -> None:
    invited = (await call(server, "POST", "/api/blogs/live/invitations", json={})).json()
    page = await opened(invited["url"])

    async def lose_the_answer(route: Route) -> None:
        await route.fetch()
        await page.context.clear_cookies()
        await route.abort()

    await page.route("**/api/join", lose_the_answer, times=1)
    await page.clock.install()
    name = page.get_by_label("Your name")
    await name.fill("Anna")
    await page.get_by_role("button", name="Join").click()
    await expect(page.locator("[data-part=status]")).to_contain_text("Your name is kept")

    await name.fill("Ana")
    await page.get_by_role("button", name="Join").click()
    await expect(page.locator("[data-part=status]")).to_contain_text("the name you gave first")
    await name.fill("Anna")
    await page.get_by_role("button", name="Join").click()

    await expect(page).to_have_url(f"{server.url}/live/write")
