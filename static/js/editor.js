/** The form in which a post is written: its fields as words, kept on the phone at each keystroke. */

import { newKey } from "./exchange.js";
import { BODY_LONGEST, isBlank, isEmpty, lengthOf, NOTHING, tagsOf } from "./words.js";

const TYPED = "textarea, input[type=text]";
const COUNTED_FROM = 19_000;

/** Says `post` when its words are to go out, `cancel` and `remove` of the post that is changed. */
export class Editor extends EventTarget {
  #form;
  #fields;
  #shelf;
  #person;
  #item;
  #served;
  #isUnkept = false;

  constructor(form, shelf, person) {
    super();
    this.#form = form;
    this.#fields = form.elements;
    this.#shelf = shelf;
    this.#person = person;
    this.#item = { key: newKey() };
    form.addEventListener("input", () => this.#typed());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    form.addEventListener("keydown", (event) => this.#pressed(event));
    for (const toggle of form.querySelectorAll("[aria-controls]")) {
      toggle.addEventListener("click", () => this.#toggle(toggle));
    }
    // A button that takes the focus would close the phone's keyboard.
    form.addEventListener("mousedown", (event) => {
      const isTyping = form.contains(document.activeElement) && document.activeElement.matches(TYPED);
      if (isTyping && !event.target.matches(TYPED)) event.preventDefault();
    });
    for (const name of ["cancel", "remove"]) {
      this.#part(name).addEventListener("click", (event) => {
        event.preventDefault();
        this.dispatchEvent(new Event(name));
      });
    }
    shelf.watch((name) => name === this.#name && this.#mirror());
    this.#restore();
  }

  get words() {
    const { body, kind, headline, key_moment: key, tags } = this.#fields;
    return {
      body: body.value,
      // A kind that this row doesn't offer, a photo's say, stays what it is.
      kind: kind.value || this.#item.kind,
      headline: headline.value,
      key: key.checked,
      tags: tagsOf(tags.value),
    };
  }

  /** What stands in the editor, as an item for the outbox. */
  get item() {
    return { ...this.#item, words: this.words };
  }

  /** What the server put into the form, to be opened: a post to change, or words that it sent back. */
  get served() {
    return this.#served;
  }

  get isEmpty() {
    return isEmpty(this.words);
  }

  /** Whether what stands in the editor is nowhere else. */
  get isUnkept() {
    return this.#isUnkept;
  }

  /** Put an item into the editor, in place of what stands there. */
  open(item) {
    this.#take(item);
    this.#keep();
    this.focus();
  }

  clear() {
    this.#item = { key: newKey() };
    this.#fill(NOTHING);
    this.#shelf.drop(this.#name);
    this.#isUnkept = false;
    this.complain("");
  }

  /** Let nothing be typed while words that the phone can't keep are on their way. */
  hold(isHeld) {
    this.#fields.body.readOnly = isHeld;
    this.#fields.submit.disabled = isHeld || isBlank(this.words);
  }

  focus() {
    this.#fields.body.focus();
  }

  complain(text) {
    const complaint = this.#part("complaint");
    complaint.hidden = !text;
    complaint.querySelector("[data-text]").textContent = text;
  }

  get #name() {
    return `draft:${this.#person.id}`;
  }

  #typed() {
    this.#keep();
    this.#show();
  }

  #keep() {
    const isNothing = this.isEmpty && !this.#item.post;
    if (isNothing) this.#shelf.drop(this.#name);
    this.#isUnkept =
      !isNothing && !this.#shelf.put(this.#name, { ...this.item, name: this.#person.name });
    if (this.#isUnkept) {
      this.complain("This phone keeps nothing for this page. Your text lives until you leave it.");
    }
  }

  #restore() {
    const { post, revision, kind, unchanged } = this.#form.dataset;
    // Not what stands in the fields: some browsers put there what was typed before a reload.
    if (post || this.#fields.body.defaultValue) {
      this.#form.reset();
      this.#item = { ...this.#item, kind };
      const words = this.words;
      const base = unchanged === undefined ? undefined : words;
      this.#served = { key: newKey(), post, revision: Number(revision), words, base };
    }
    const kept = this.#shelf.get(this.#name);
    if (kept?.words) this.#take(kept);
    else if (this.#served) this.#take({ key: newKey(), words: NOTHING });
    else this.#show();
  }

  #mirror() {
    // What another tab types shows here; typing here then goes on from it.
    if (!document.hidden && document.activeElement === this.#fields.body) return;
    this.#take(this.#shelf.get(this.#name) ?? { key: newKey(), words: NOTHING });
  }

  #take({ words, ...item }) {
    this.#item = { ...item, kind: words.kind };
    this.#fill(words);
  }

  #fill({ body, kind, headline, key, tags }) {
    const fields = this.#fields;
    fields.body.value = body;
    for (const choice of fields.kind) choice.checked = choice.value === kind;
    fields.headline.value = headline;
    fields.key_moment.checked = key;
    fields.tags.value = tags.join(", ");
    for (const toggle of this.#form.querySelectorAll("[aria-controls]")) {
      this.#unfold(toggle, Boolean(this.#fieldOf(toggle).value));
    }
    this.#show();
  }

  #show() {
    const { body, submit } = this.#fields;
    const length = body.value.length > COUNTED_FROM ? lengthOf(body.value) : 0;
    const count = this.#part("count");
    count.hidden = length <= COUNTED_FROM;
    count.classList.toggle("is-over", length > BODY_LONGEST);
    count.textContent = `${length.toLocaleString("en")} of ${BODY_LONGEST.toLocaleString("en")}`;
    submit.disabled = isBlank(this.words);
    submit.textContent = this.#item.post ? "Save" : "Post";
    this.#part("changing").hidden = !this.#item.post;
    if (!this.#item.post) this.#part("removal").open = false;
    // Browsers without field-sizing: grow with the text, CSS bounds it.
    if (!CSS.supports("field-sizing", "content")) {
      body.style.setProperty("height", "auto");
      body.style.setProperty("height", `${body.scrollHeight}px`);
    }
  }

  #submit() {
    if (isBlank(this.words) || this.#fields.body.readOnly) return;
    this.dispatchEvent(new Event("post"));
  }

  #pressed(event) {
    if (event.key !== "Enter" || event.isComposing) return;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      this.#submit();
    } else if (event.target.matches("input[type=text]")) {
      // In a one-line field Enter leads back to the text; a half-written post must not go out.
      event.preventDefault();
      this.focus();
    }
  }

  #toggle(button) {
    const field = this.#fieldOf(button);
    const isOpen = button.getAttribute("aria-expanded") === "true";
    if (isOpen && !field.value) {
      this.#unfold(button, false);
      this.focus();
    } else {
      this.#unfold(button, true);
      field.focus();
    }
  }

  #unfold(button, isOpen) {
    button.setAttribute("aria-expanded", String(isOpen));
    this.#fieldOf(button).closest(".composer__field").classList.toggle("is-open", isOpen);
  }

  #fieldOf(button) {
    return document.getElementById(button.getAttribute("aria-controls"));
  }

  #part(name) {
    return this.#form.querySelector(`[data-part="${name}"]`);
  }
}
