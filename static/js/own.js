/** Edit and Remove on one's own posts in the feed; asks once before it removes. */

/** Says `edit` and `remove` (detail: id, say), where `say(text)` shows by the post what went wrong. */
export class OwnPosts extends EventTarget {
  #feed;
  #selector;
  #template;

  constructor(feed, person, template) {
    super();
    this.#feed = feed;
    this.#selector = `article[data-author="${CSS.escape(person)}"]`;
    this.#template = template;
    // Articles come and are replaced as the stream says; each gets its buttons when it appears.
    new MutationObserver(() => this.#dress()).observe(feed, { childList: true, subtree: true });
    feed.addEventListener("click", (event) => this.#pressed(event));
    this.#dress();
  }

  /** The newest own posts, oldest first, as rows for the thread. */
  recent(most) {
    return [...this.#feed.querySelectorAll(this.#selector)]
      .slice(0, most)
      .map((article) => this.#row(article))
      .sort((one, other) => one.at.localeCompare(other.at));
  }

  /** Take a post's article away without waiting for the stream to say so. */
  drop(id) {
    this.#find(id)?.remove();
  }

  #row(article) {
    const text = article.querySelector(".post__headline") ?? article.querySelector(".post__body");
    return {
      id: article.dataset.id,
      at: article.querySelector("time").dateTime,
      kind: /post--(\w+)/.exec(article.className)?.[1] ?? "update",
      line: text?.textContent.trim().slice(0, 200) ?? "",
    };
  }

  #dress() {
    let changed = false;
    for (const article of this.#feed.querySelectorAll(this.#selector)) {
      if (article.querySelector(".own")) continue;
      article.append(this.#template.content.cloneNode(true));
      changed = true;
    }
    if (changed) this.dispatchEvent(new Event("change"));
  }

  #pressed(event) {
    const button = event.target.closest("[data-own]");
    if (!button) return;
    const { id } = button.closest("article").dataset;
    const own = button.closest(".own");
    const isAsking = button.dataset.own === "ask";
    if (isAsking || button.dataset.own === "keep") {
      own.classList.toggle("is-asking", isAsking);
      own.querySelector(isAsking ? '[data-own="keep"]' : '[data-own="ask"]').focus();
      return;
    }
    const say = (text) => {
      const own = this.#find(id)?.querySelector(".own");
      if (own) own.querySelector("[role=status]").textContent = text;
    };
    this.dispatchEvent(new CustomEvent(button.dataset.own, { detail: { id, say } }));
  }

  #find(id) {
    return this.#feed.querySelector(`article[data-id="${CSS.escape(id)}"]`);
  }
}
