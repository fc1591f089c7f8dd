/** The list of key moments: each in its place by time, each leading to its post. */

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

  /** Take what an article now says: a key moment is listed, any other isn't. */
  put(article) {
    const { id } = article.dataset;
    this.remove(id);
    if (!article.matches(".post--key")) return;
    const item = this.#itemOf(article);
    const at = momentOf(item);
    this.#list.insertBefore(item, [...this.#list.children].find((other) => momentOf(other) <= at) ?? null);
    if (this.#list.children.length > MOST) this.#list.lastElementChild.remove();
    this.#nav.hidden = false;
  }

  remove(id) {
    this.#list.querySelector(`[data-id="${CSS.escape(id)}"]`)?.remove();
    this.#nav.hidden = this.isEmpty;
  }

  replaceAll(items) {
    this.#list.replaceChildren(...items);
    this.#nav.hidden = this.isEmpty;
  }

  #itemOf(article) {
    const item = this.#template.content.firstElementChild.cloneNode(true);
    const [from, to] = [article.querySelector("time"), item.querySelector("time")];
    item.dataset.id = article.dataset.id;
    item.querySelector("a").href = article.querySelector(".post__time").getAttribute("href");
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
