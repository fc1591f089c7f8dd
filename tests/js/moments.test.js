/** Key moments are listed by their time, once each, as the posts now say. */

import { Moments } from "/static/js/moments.js";
import { articleOf } from "/static/js/timeline.js";
import { assert, equal, test } from "/tests/js/harness.js";

function world() {
  document.body.innerHTML =
    '<nav hidden><ol></ol></nav><template><li><a href="/"><time></time><span></span></a></li></template>';
  const nav = document.querySelector("nav");
  const moments = new Moments(nav, document.querySelector("template"));
  const post = (id, minute, words, isKey = true) =>
    articleOf(
      `<article class="post ${isKey ? "post--key" : ""}" data-id="${id}"><a class="post__time" href="/live/posts/${id}">` +
        `<time datetime="2026-11-28T14:${minute}:00Z">14:${minute}</time></a>${words}</article>`,
    );
  const listed = () => [...nav.querySelectorAll("li")].map((item) => item.textContent);
  return { nav, moments, post, listed };
}

const headline = (text) => `<h3 class="post__headline">${text}</h3><div class="post__body"><p>More</p></div>`;

test("a key moment is listed with its time, its headline and the way to it", () => {
  const { nav, moments, post, listed } = world();
  moments.put(post("a", 28, headline("Forty vans")));
  equal(listed(), ["14:28Forty vans"]);
  equal(nav.querySelector("a").getAttribute("href"), "/live/posts/a");
  assert(!nav.hidden, "the list stays hidden");
});

test("the newest stands first, also where an older post became one later", () => {
  const { moments, post, listed } = world();
  moments.put(post("b", 20, headline("B")));
  moments.put(post("c", 30, headline("C")));
  moments.put(post("a", 10, headline("A")));
  equal(listed(), ["14:30C", "14:20B", "14:10A"]);
});

test("an edit changes it in its place, and a post that is none any more leaves", () => {
  const { nav, moments, post, listed } = world();
  moments.put(post("a", 10, headline("A")));
  moments.put(post("b", 20, headline("B")));
  moments.put(post("a", 10, headline("A, mended")));
  equal(listed(), ["14:20B", "14:10A, mended"]);
  moments.put(post("a", 10, headline("A"), false));
  moments.remove("b");
  equal(listed(), []);
  assert(nav.hidden, "an empty list is shown");
});

test("it leads among its neighbours where its place in the log is known, also after an edit", () => {
  const { nav, moments, post } = world();
  const placed = post("a", 28, headline("Forty vans"));
  placed.dataset.before = "7";
  moments.put(placed);
  moments.put(post("a", 28, headline("Fifty vans")));
  equal(nav.querySelector("a").getAttribute("href"), "/live?before=8#p-a");
});

test("without a headline its words are taken, and not too many", () => {
  const { moments, post, listed } = world();
  moments.put(post("a", 10, `<div class="post__body"><p>${"word ".repeat(60)}</p></div>`));
  assert(listed()[0].endsWith("word…") && listed()[0].length < 100, listed()[0]);
});
