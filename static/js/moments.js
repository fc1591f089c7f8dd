/** The list of key moments, by time. */

const MOST = 100;
const EXCERPT = 90;

export class Moments {
  #nav;
  #list;
  #template;

  constructor(nav, template) {
    this.#nav = nav;
    this.#list = nav.querySelector("ol");
    this.#template = template;
  }

  get isEmpty() {
    return !this.#list.children.length;
  }

  /** Take what an article now says. */
  put(article) {
    const { id } = article.dataset;
    const known = this.#find(id)?.querySelector("a").getAttribute("href");
    this.remove(id);
    if (!article.matches(".post--key")) return;
    const item = this.#itemOf(article, known);
    const at = momentOf(item);
    this.#list.insertBefore(item, [...this.#list.children].find((other) => momentOf(other) <= at) ?? null);
    if (this.#list.children.length > MOST) this.#list.lastElementChild.remove();
    this.#nav.hidden = false;
  }

  remove(id) {
    this.#find(id)?.remove();
    this.#nav.hidden = this.isEmpty;
  }

  replaceAll(items) {
    this.#list.replaceChildren(...items);
    this.#nav.hidden = this.isEmpty;
  }

  #find(id) {
    return this.#list.querySelector(`[data-id="${CSS.escape(id)}"]`);
  }

  #itemOf(article, known) {
    const item = this.#template.content.firstElementChild.cloneNode(true);
    const [from, to] = [article.querySelector("time"), item.querySelector("time")];
    const { id, before } = article.dataset;
    item.dataset.id = id;
    const alone = article.querySelector(".post__time").getAttribute("href");
    // Among its neighbours, where its place in the log is known.
    const placed = before && `${alone.split("/posts/")[0]}?before=${Number(before) + 1}#p-${id}`;
    item.querySelector("a").href = placed ?? known ?? alone;
    to.dateTime = from.dateTime;
    to.textContent = from.textContent;
    const words = article.querySelector(".post__headline") ?? article.querySelector(".post__body");
    item.querySelector("span").textContent = excerpt(words.textContent);
    return item;
  }
}

function momentOf(item) {
  return Date.parse(item.querySelector("time").dateTime);
}

function excerpt(words) {
  const text = words.trim().replace(/\s+/g, " ");
  return text.length > EXCERPT ? `${text.slice(0, EXCERPT).trimEnd()}…` : text;
}
