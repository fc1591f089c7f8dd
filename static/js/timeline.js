/** The posts on the page: put in, replaced and taken out where the reader is, without moving their place. */

const GONE_MOST = 1000;

/** An article out of the server's markup; the one template that renders a post is there. */
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
  #gone = new Set();

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

  /** Apply one entry of the log. Answers the article that is new, where one is. */
  apply({ action, id, html, offset }) {
    if (action === "retract") return this.#remove(id);
    if ((action !== "publish" && action !== "edit") || this.#gone.has(id)) return null;
    const article = articleOf(html);
    if (action === "edit") return this.#replace(id, article);
    article.dataset.before = offset;
    this.#takeOut(id); // So that a replay is harmless.
    if (this.#mayInsert()) {
      this.#prepend([article]);
    } else {
      this.#held.push(article);
      this.#say("held", this.#held.length);
    }
    return article;
  }

  /** Put in what waits. */
  release() {
    const waiting = this.#held.splice(0);
    if (waiting.length) this.#prepend(waiting);
    this.#say("held", 0);
  }

  /** Put older articles at the end, leaving out what is here or was taken back meanwhile. */
  append(articles) {
    for (const article of articles) {
      if (!this.#gone.has(article.dataset.id) && !this.find(article.dataset.id)) {
        this.#list.append(article);
      }
    }
    this.#say("change");
  }

  /** Another log stands now: show these instead, and keep the reader by the post they read. */
  replaceAll(articles) {
    this.#held = [];
    this.#gone.clear();
    this.#inPlace(() => this.#list.replaceChildren(...articles));
    this.#say("held", 0);
    this.#say("change");
  }

  find(id) {
    return this.#list.querySelector(`article[data-id="${CSS.escape(id)}"]`);
  }

  #prepend(articles) {
    this.#inPlace(() => {
      for (const article of articles) {
        article.classList.add("is-new");
        article.addEventListener("animationend", () => article.classList.remove("is-new"));
        this.#list.prepend(article);
      }
      while (this.#list.children.length > this.#most && this.#mayInsert()) {
        this.#list.lastElementChild.remove();
      }
    });
    this.#say("change");
  }

  #replace(id, article) {
    const place = this.#held.findIndex((waiting) => waiting.dataset.id === id);
    const shown = this.find(id);
    if (place >= 0) {
      article.dataset.before = this.#held[place].dataset.before;
      this.#held[place] = article;
    } else if (shown) {
      if (shown.dataset.before) article.dataset.before = shown.dataset.before;
      this.#inPlace(() => shown.replaceWith(article));
    }
    this.#say("change", { edited: article });
    return null;
  }

  #remove(id) {
    this.#gone.add(id);
    if (this.#gone.size > GONE_MOST) this.#gone.delete(this.#gone.values().next().value);
    this.#inPlace(() => this.#takeOut(id));
    this.#say("held", this.#held.length);
    this.#say("change", { removed: id });
    return null;
  }

  #takeOut(id) {
    this.#held = this.#held.filter((waiting) => waiting.dataset.id !== id);
    this.find(id)?.remove();
  }

  /** Change the page above the reader without moving what they read. */
  #inPlace(change) {
    const anchor =
      scrollY > 0 &&
      [...this.#list.children].find((article) => article.getBoundingClientRect().bottom > 80);
    const top = anchor && anchor.getBoundingClientRect().top;
    change();
    const now = anchor && (anchor.isConnected ? anchor : this.find(anchor.dataset.id));
    if (now) {
      const moved = now.getBoundingClientRect().top - top;
      if (Math.abs(moved) > 1) scrollBy({ top: moved, behavior: "instant" });
    }
  }

  #say(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
