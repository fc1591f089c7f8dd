/** What is typed is kept, and nothing goes out that nobody meant to post. */

import { Editor } from "/static/js/editor.js";
import { ANA, equal, newShelf, test, words } from "/tests/js/harness.js";

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

test("what is typed is there again after a reload, under the same key", () => {
  const shelf = newShelf();
  const form = formOf();
  const before = new Editor(form, shelf, ANA);
  type(form, "Hands up");
  form.elements.kind.value = "quote";
  type(form, "Housing, #Main hall", "tags");

  const after = new Editor(formOf(), shelf, ANA);

  equal(after.words, words("Hands up", { kind: "quote", tags: ["Housing", "Main hall"] }));
  equal(after.item.key, before.item.key);
});

test("a draft belongs to its person", () => {
  const shelf = newShelf();
  const form = formOf();
  new Editor(form, shelf, ANA);
  type(form, "Hands up");

  equal(new Editor(formOf(), shelf, { id: "ben", name: "Ben" }).isEmpty, true);
});

test("pressing Post says so and leaves the text; clearing it takes a new key", () => {
  const form = formOf();
  const editor = new Editor(form, newShelf(), ANA);
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
  const editor = new Editor(form, newShelf(), ANA);
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
  const editor = new Editor(form, newShelf(), ANA);
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
  const editor = new Editor(form, newShelf(), ANA);

  editor.open({ key: "k", post: "p1", revision: 3, words: words("The table", { kind: "photo" }) });
  type(form, "The gift table");

  const { post, revision, words: now } = editor.item;
  equal([post, revision, now.kind, now.body], ["p1", 3, "photo", "The gift table"]);
  equal(form.elements.submit.textContent, "Save");
});
