/** The posts on the page, changed without moving the reader’s place. */

/** So near, a reader is at the top, and stays there. */
export const AT_TOP_PX = 8;

const GONE_MOST = 1000;
const LATE_MOST = 100;
const NEW_MS = 2000;
// A line that stays at the top of the page may cover this much.
const COVERED_PX = 60;

/** An article out of the server's markup. */
export function articleOf(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.querySelector("article");
}

/** Says `held` (detail: how many wait) and `change` after anything was put in or taken out. */
export class Timeline extends EventTarget {
  #list;
  #most;
  #mayInsert;
  #held = [];
  #isTorn = false;
  #gone = new Set();
  #late = new Map();

  /** `mayInsert()`: whether an arriving post may go in now, or has to wait. */
  constructor(list, { most = 300, mayInsert = () => true } = {}) {
    super();
    this.#list = list;
    this.#most = most;
    this.#mayInsert = mayInsert;
  }

  get held() {
    return this.#held.length;
  }

  /** The newest article, shown or waiting. */
  get newest() {
    return this.#held.at(-1) ?? this.#list.firstElementChild;
  }

  /** Apply one entry of the log. Answers the article of a post that is new or was edited. */
  apply({ action, id, html, offset }) {
    if (action === "retract") return this.#remove(id);
    if ((action !== "publish" && action !== "edit") || this.#gone.has(id)) return null;
    const article = articleOf(html);
    if (!article) return null;
    if (action === "edit") return this.#replace(id, article);
    article.dataset.before = offset;
    this.#takeOut(id); // So that a replay is harmless.
    if (this.#mayInsert()) {
      this.#prepend([article]);
    } else {
      this.#hold(article);
    }
    return article;
  }

  /** Put in what waits. */
  release() {
    const waiting = this.#held.splice(0);
    // More came than was kept: what stands here doesn't follow.
    if (this.#isTorn) this.#list.replaceChildren();
    this.#isTorn = false;
    if (waiting.length) this.#prepend(waiting);
    this.#say("held", 0);
  }

  /** Put older articles at the end, but for what is here or was taken back. */
  append(articles) {
    for (const article of articles) {
      const { id, before } = article.dataset;
      if (this.#gone.has(id) || this.find(id)) continue;
      const edited = this.#late.get(id);
      if (edited && before) edited.dataset.before = before;
      this.#list.append(edited ?? article);
    }
    this.#say("change");
  }

  /** Another log stands now: show these instead. */
  replaceAll(articles) {
    this.#held = [];
    this.#isTorn = false;
    this.#gone.clear();
    this.#late.clear();
    this.inPlace(() => this.#list.replaceChildren(...articles));
    this.#say("held", 0);
    this.#say("change");
  }

  find(id) {
    return this.#list.querySelector(`article[data-id="${CSS.escape(id)}"]`);
  }

  /** Whether the post waits to be put in. */
  holds(id) {
    return this.#held.some((article) => article.dataset.id === id);
  }

  /** Change the page above the reader without moving what they read. */
  inPlace(change) {
    if (scrollY < AT_TOP_PX) {
      change();
      if (scrollY > 0) scrollTo({ top: 0, behavior: "instant" });
      return;
    }
    const seen = this.#inSight();
    change();
    for (const { id, top } of seen) {
      const now = this.find(id);
      if (!now) continue;
      const moved = now.getBoundingClientRect().top - top;
      if (Math.abs(moved) > 0.5) scrollBy({ top: moved, behavior: "instant" });
      return;
    }
  }

  #inSight() {
    return [...this.#list.children]
      .map((article) => ({ id: article.dataset.id ?? "", box: article.getBoundingClientRect() }))
      .filter(({ box }) => box.bottom > COVERED_PX && box.top < 2 * innerHeight)
      .map(({ id, box }) => ({ id, top: box.top }));
  }

  #prepend(articles) {
    this.inPlace(() => {
      for (const article of articles) {
        article.classList.add("is-new");
        setTimeout(() => article.classList.remove("is-new"), NEW_MS);
        this.#list.prepend(article);
      }
      while (this.#list.children.length > this.#most && this.#mayInsert()) {
        this.#list.lastElementChild.remove();
      }
    });
    this.#say("change");
  }

  #hold(article) {
    this.#held.push(article);
    if (this.#held.length > this.#most) {
      this.#held.shift();
      this.#isTorn = true;
    }
    this.#say("held", this.#held.length);
  }

  #replace(id, article) {
    const place = this.#held.findIndex((waiting) => waiting.dataset.id === id);
    const shown = this.find(id);
    const { before } = (shown ?? this.#held[place] ?? article).dataset;
    if (before) article.dataset.before = before;
    if (place >= 0) {
      this.#held[place] = article;
    } else if (shown) {
      const hadFocus = shown.contains(document.activeElement);
      this.inPlace(() => shown.replaceWith(article));
      if (hadFocus) article.querySelector("a")?.focus({ preventScroll: true });
    } else {
      // An older page may be on its way with the words as they were.
      keep(this.#late, LATE_MOST, () => this.#late.set(id, article.cloneNode(true)));
    }
    this.#say("change");
    return article;
  }

  #remove(id) {
    keep(this.#gone, GONE_MOST, () => this.#gone.add(id));
    this.inPlace(() => this.#takeOut(id));
    this.#say("held", this.#held.length);
    this.#say("change");
    return null;
  }

  #takeOut(id) {
    this.#held = this.#held.filter((waiting) => waiting.dataset.id !== id);
    const shown = this.find(id);
    const hadFocus = shown?.contains(document.activeElement);
    const next = shown?.nextElementSibling ?? shown?.previousElementSibling ?? this.#list;
    shown?.remove();
    if (hadFocus) next.focus({ preventScroll: true });
  }

  #say(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Add to a set or map that forgets what it got first. */
function keep(many, most, add) {
  add();
  if (many.size > most) many.delete(many.keys().next().value);
}
