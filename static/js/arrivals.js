/** Which own posts of the feed are shown as live while one is on its way whose id nobody knows yet. */

export class Arrivals {
  #known = null;

  /**
   * `rows` without those that may be what is on its way: the stream can be quicker than the answer.
   * `since`: when the oldest that is on its way was written; undefined where none is.
   */
  settled(rows, since) {
    if (since === undefined) {
      for (const { id } of rows) this.know(id);
      return rows;
    }
    // A page that opens with something on its way has only the clock to go by.
    this.#known ??= new Set(rows.filter(({ at }) => at < since).map(({ id }) => id));
    return rows.filter(({ id }) => this.#known.has(id));
  }

  /** The answer named this post. */
  know(id) {
    this.#known ??= new Set();
    this.#known.add(id);
  }
}
