/** What this phone keeps for one blog, where it keeps anything: localStorage under one prefix. */

export class Shelf {
  #storage;
  #prefix;

  /** `storage` may be null: some browsers refuse it, and then nothing is kept. */
  constructor(storage, slug) {
    this.#storage = storage;
    this.#prefix = `liveblog:${slug}:`;
  }

  /** The browser's own storage, or none where it is blocked. */
  static of(slug) {
    try {
      return new Shelf(window.localStorage, slug);
    } catch {
      return new Shelf(null, slug);
    }
  }

  /** What stands under `name`; null for nothing, and for what can't be read. */
  get(name) {
    try {
      return JSON.parse(this.#storage.getItem(this.#prefix + name));
    } catch {
      return null;
    }
  }

  /** Keep `value`. False where the phone won't: no room, or no storage. */
  put(name, value) {
    try {
      this.#storage.setItem(this.#prefix + name, JSON.stringify(value));
      return true;
    } catch {
      return false;
    }
  }

  drop(name) {
    try {
      this.#storage.removeItem(this.#prefix + name);
    } catch {
      // Nothing is kept, so nothing is left.
    }
  }

  /** The names under which something is kept that begin with `start`. */
  names(start) {
    const whole = this.#prefix + start;
    return Object.keys(this.#storage ?? {})
      .filter((name) => name.startsWith(whole))
      .map((name) => name.slice(this.#prefix.length));
  }

  /** Call `then(name)` when another tab changes something. */
  watch(then) {
    addEventListener("storage", ({ key }) => {
      if (key?.startsWith(this.#prefix)) then(key.slice(this.#prefix.length));
    });
  }
}
