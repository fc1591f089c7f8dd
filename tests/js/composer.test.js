import { Courier } from "/static/js/courier.js";
import { Editor } from "/static/js/editor.js";
import { Undo } from "/static/js/undo.js";
import { NOTHING } from "/static/js/words.js";
import { test } from "/tests/js/harness.js";
import { equal, eventually, freshShelf, json, page, withNetwork } from "/tests/js/world.js";

const ana = { id: "ana", name: "Ana" };
const words = (body, more = {}) => ({ ...NOTHING, body, ...more });

/** The parts of the composer's form that the editor needs, as write.html has them. */
function formOf() {
  document.body.innerHTML = `
    <form>
      <p data-part="complaint" hidden><span data-text></span></p>
      <p data-part="changing" hidden><button type="button" data-part="cancel">Cancel</button></p>
      <details data-part="removal"><button data-part="remove">Yes, remove</button></details>
      <textarea name="body"></textarea><span data-part="count" hidden></span>
      <div class="composer__field"><input id="headline" name="headline" type="text"></div>
      <div class="composer__field"><input id="tags" name="tags" type="text"></div>
      <input type="radio" name="kind" value="update" checked>
      <input type="radio" name="kind" value="quote">
      <input type="checkbox" name="key_moment">
      <button type="button" aria-controls="headline" aria-expanded="false">Headline</button>
      <button type="button" aria-controls="tags" aria-expanded="false">Tags</button>
      <button type="submit" name="submit">Post</button>
    </form>`;
  return document.querySelector("form");
}

function type(form, text, name = "body") {
  form.elements[name].value = text;
  form.elements[name].dispatchEvent(new Event("input", { bubbles: true }));
}

function press(field, key, more = {}) {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
  field.dispatchEvent(event);
  return event;
}

// -- the editor

test("what is typed is there again after a reload, under the same key", () => {
  const shelf = freshShelf();
  const form = formOf();
  const before = new Editor(form, shelf, ana);
  type(form, "Hands up");
  form.elements.kind.value = "quote";
  type(form, "Housing, #Main hall", "tags");

  const after = new Editor(formOf(), shelf, ana);

  equal(after.words, words("Hands up", { kind: "quote", tags: ["Housing", "Main hall"] }));
  equal(after.item.key, before.item.key);
});

test("a draft belongs to its person", () => {
  const shelf = freshShelf();
  const form = formOf();
  new Editor(form, shelf, ana);
  type(form, "Hands up");

  equal(new Editor(formOf(), shelf, { id: "ben", name: "Ben" }).isEmpty, true);
});

test("pressing Post says so and leaves the text; clearing it takes a new key", () => {
  const form = formOf();
  const editor = new Editor(form, freshShelf(), ana);
  let posts = 0;
  editor.addEventListener("post", () => posts++);
  type(form, "Hands up");
  const { key } = editor.item;

  form.requestSubmit();

  equal(posts, 1);
  equal(editor.words.body, "Hands up");
  editor.clear();
  equal(editor.isEmpty, true);
  equal(editor.item.key === key, false);
});

test("nothing but blanks can't be posted, and Enter in a one-line field doesn't post", () => {
  const form = formOf();
  const editor = new Editor(form, freshShelf(), ana);
  let posts = 0;
  editor.addEventListener("post", () => posts++);

  type(form, "  \n ");
  equal(form.elements.submit.disabled, true);
  press(form.elements.body, "Enter", { ctrlKey: true });
  equal(posts, 0);

  type(form, "Hands up");
  equal(press(form.elements.headline, "Enter").defaultPrevented, true);
  equal(posts, 0);

  // Control: the same key with Ctrl posts.
  press(form.elements.body, "Enter", { ctrlKey: true });
  equal(posts, 1);
});

test("a headline stays folded until it is asked for, and opens by itself where it is filled", () => {
  const form = formOf();
  const editor = new Editor(form, freshShelf(), ana);
  const field = form.elements.headline.closest(".composer__field");
  equal(field.classList.contains("is-open"), false);

  form.querySelector("[aria-controls=headline]").click();
  equal(field.classList.contains("is-open"), true);
  equal(document.activeElement, form.elements.headline);

  editor.clear();
  equal(field.classList.contains("is-open"), false);
  editor.open({ key: "k", words: words("Hands up", { headline: "The van" }) });
  equal(field.classList.contains("is-open"), true);
});

test("a post that is changed keeps its revision, and a kind that the row doesn't offer", () => {
  const form = formOf();
  const editor = new Editor(form, freshShelf(), ana);

  editor.open({ key: "k", post: "p1", revision: 3, words: words("The table", { kind: "photo" }) });
  type(form, "The gift table");

  const { post, revision, words: now } = editor.item;
  equal([post, revision, now.kind, now.body], ["p1", 3, "photo", "The gift table"]);
  equal(form.elements.submit.textContent, "Save");
});

// -- what goes to the server

test("HTML, other people's JSON, a redirect and a broken line are no answer", async () => {
  const item = { key: "k", words: words("Hands up"), at: "2026-11-24T15:00:00Z" };
  const courier = new Courier("hall", { id: "ana" });
  for (const answer of [
    () => page(200),
    () => page(401),
    () => page(404),
    () => page(503),
    () => json(200, { logged: "in" }),
    () => Response.redirect("http://localhost/portal"),
    () => new Response("{", { headers: { "content-type": "application/json" } }),
    () => Promise.reject(new TypeError("Failed to fetch")),
  ]) {
    await withNetwork(answer, async () => equal((await courier.deliver(item)).kind, "later"));
  }
  // Control: the server's own answer is one.
  await withNetwork(
    () => json(201, { id: "p1" }),
    async () => equal((await courier.deliver(item)).kind, "done"),
  );
});

// -- what is said

test("Undo that fails stays, says why, and can be pressed again", async () => {
  document.body.innerHTML =
    '<p hidden><svg><use href="/static/icons.svg#check"/></svg><span data-text></span><button type="button">Undo</button></p>';
  const bar = document.querySelector("p");
  const button = bar.querySelector("button");
  const undo = new Undo(bar);
  const answers = ["Not taken back. The network broke off.", null];
  undo.offer("Your post is live.", async () => answers.shift());
  equal(bar.hidden, false);

  button.click();
  await eventually(() => button.textContent === "Try again");
  equal([bar.hidden, bar.querySelector("[data-text]").textContent.includes("network")], [false, true]);

  button.click();
  await eventually(() => bar.hidden);
  equal(answers.length, 0);
});
