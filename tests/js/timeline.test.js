import { Timeline } from "/static/js/timeline.js";
import { articleOf } from "/static/js/timeline.js";
import { assert, equal, test } from "/tests/js/harness.js";

function world(options) {
  document.body.innerHTML = '<div id="posts"></div>';
  const list = document.querySelector("#posts");
  const timeline = new Timeline(list, options);
  const shown = () => [...list.children].map((article) => `${article.dataset.id}:${article.textContent}`);
  const html = (id, text) => `<article class="post" data-id="${id}">${text}</article>`;
  const say = (action, offset, id, text = "") =>
    timeline.apply({ action, offset, id, html: action === "retract" ? undefined : html(id, text) });
  return { list, timeline, shown, say, html };
}

test("the newest post stands first", () => {
  const { say, shown } = world();
  say("publish", 1, "a", "one");
  say("publish", 2, "b", "two");
  equal(shown(), ["b:two", "a:one"]);
});

test("a replayed post stands once", () => {
  const { say, shown } = world();
  say("publish", 1, "a", "one");
  say("publish", 1, "a", "one");
  equal(shown(), ["a:one"]);
});

test("an edit replaces the post where it stands and keeps its place in the log", () => {
  const { say, shown, list } = world();
  say("publish", 1, "a", "one");
  say("publish", 2, "b", "two");
  say("edit", 3, "a", "one, mended");
  equal(shown(), ["b:two", "a:one, mended"]);
  equal(list.lastElementChild.dataset.before, "1");
});

test("an edit of a post that isn't on the page brings nothing", () => {
  const { say, shown } = world();
  say("edit", 9, "z", "old");
  equal(shown(), []);
});

test("a retracted post goes, also from what waits, and no older page brings it back", () => {
  let open = true;
  const { say, shown, timeline, html } = world({ mayInsert: () => open });
  say("publish", 1, "a", "one");
  open = false;
  say("publish", 2, "b", "two");
  say("retract", 3, "a");
  say("retract", 4, "b");
  equal(timeline.held, 0);
  timeline.append([articleOf(html("a", "one")), articleOf(html("c", "three"))]);
  equal(shown(), ["c:three"]);
});

test("posts wait while the reader is further down, and come in order", () => {
  let open = false;
  const { say, shown, timeline } = world({ mayInsert: () => open });
  const said = [];
  timeline.addEventListener("held", ({ detail }) => said.push(detail));
  say("publish", 1, "a", "one");
  say("publish", 2, "b", "two");
  say("edit", 3, "a", "one, mended");
  equal(shown(), []);
  equal(timeline.held, 2);
  open = true;
  timeline.release();
  equal(shown(), ["b:two", "a:one, mended"]);
  equal(said, [1, 2, 0]);
});

test("a page that is open for long keeps a bounded number of posts", () => {
  const { say, list } = world({ most: 5 });
  for (let offset = 1; offset <= 20; offset++) say("publish", offset, `p${offset}`, "x");
  equal(list.children.length, 5);
  equal(list.firstElementChild.dataset.id, "p20");
  equal(list.lastElementChild.dataset.before, "16");
});

test("what is read doesn't move when something above it changes", () => {
  const { say, list } = world({ mayInsert: () => true });
  for (let offset = 1; offset <= 30; offset++) say("publish", offset, `p${offset}`, "<p>line</p>".repeat(6));
  for (const article of list.children) article.style.setProperty("display", "block");
  document.documentElement.style.setProperty("overflow-anchor", "none");
  scrollTo(0, 1500);
  const read = [...list.children].find((article) => article.getBoundingClientRect().bottom > 80);
  const top = read.getBoundingClientRect().top;
  say("edit", 31, "p30", "<p>much longer now</p>".repeat(20));
  assert(scrollY > 0 && Math.abs(read.getBoundingClientRect().top - top) < 2, "the reader was moved");
});

test("a reader who is as good as at the top stays at the top, and what comes is in sight", () => {
  const { say, list } = world();
  for (let offset = 1; offset <= 30; offset++) say("publish", offset, `p${offset}`, "<p>line</p>".repeat(6));
  for (const article of list.children) article.style.setProperty("display", "block");
  scrollTo(0, 7);

  say("publish", 31, "p31", "<p>line</p>".repeat(6));

  equal(scrollY, 0);
});

test("what is read doesn't move when the very post at the top of the screen goes", () => {
  const { say, list } = world();
  for (let offset = 1; offset <= 30; offset++) say("publish", offset, `p${offset}`, "<p>line</p>".repeat(6));
  for (const article of list.children) article.style.setProperty("display", "block");
  scrollTo(0, 1500);
  const cut = [...list.children].find((article) => article.getBoundingClientRect().bottom > 80);
  const below = cut.nextElementSibling;
  const top = below.getBoundingClientRect().top;

  say("retract", 31, cut.dataset.id);

  assert(Math.abs(below.getBoundingClientRect().top - top) < 2, "the reader was moved");
});

test("an edit that comes while the older page is on its way is what stands in the end", () => {
  const { say, shown, timeline, html } = world();
  say("publish", 5, "e", "five");
  say("edit", 6, "a", "one, mended");

  timeline.append([articleOf(html("a", "one"))]);

  equal(shown(), ["e:five", "a:one, mended"]);
});

test("what waits is bounded, and then stands without the posts that it has lost touch with", () => {
  let open = true;
  const { say, shown, timeline } = world({ most: 3, mayInsert: () => open });
  say("publish", 1, "a", "one");
  open = false;
  for (let offset = 2; offset <= 6; offset++) say("publish", offset, `p${offset}`, "x");
  equal(timeline.held, 3);

  timeline.release();

  equal(shown(), ["p6:x", "p5:x", "p4:x"]);
});

test("an entry without words brings nothing", () => {
  const { timeline, shown } = world();
  timeline.apply({ action: "publish", offset: 1, id: "a" });
  timeline.apply({ action: "sung", offset: 2, id: "b", html: "<article data-id='b'></article>" });
  equal(shown(), []);
});

test("an edit keeps the keyboard where it was", () => {
  const { say, timeline } = world();
  say("publish", 1, "a", '<a href="/x">14:28</a> one');
  timeline.find("a").querySelector("a").focus();

  say("edit", 2, "a", '<a href="/x">14:28</a> one, mended');

  equal(document.activeElement, timeline.find("a").querySelector("a"));
});
