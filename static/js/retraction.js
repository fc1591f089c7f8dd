/** Takes a live post back, and keeps its words on the phone until it is known what became of it. */

const NO_ROOM = "This phone can't set aside what stands in the editor: post or clear that first.";

export class Retraction {
  #outbox;
  #courier;
  #person;
  #wanted = new Set();
  #asked = new Set();

  constructor({ outbox, courier, person }) {
    this.#outbox = outbox;
    this.#courier = courier;
    this.#person = person;
  }

  /**
   * Take post `id` back: `{item}` with its words once it is gone, else `{why}`.
   * `hasRoom`: whether the editor could take the words where the phone keeps none.
   */
  async take(id, words, hasRoom = true) {
    // The words are safe on the phone before the post goes.
    const kept = this.#kept(id) ?? this.#outbox.add({ words, held: true, taking: id });
    if (!kept && !hasRoom) return { why: NO_ROOM };
    this.#wanted.add(id);
    this.#asked.add(id);
    const { kind, why } = await this.#courier.remove(id);
    this.#asked.delete(id);
    if (kind === "done") {
      this.#wanted.delete(id);
      this.gone(id);
      return { item: kept ? { key: kept.key, words } : { words } };
    }
    // A no of the server's leaves the post as it was; where no answer came, nobody knows yet.
    if (kind !== "later") this.#letGo(id);
    if (!this.#wanted.has(id)) this.settle();
    return { why };
  }

  /** Nobody wants `id` back any more: its words are kept only until it is known to stand. */
  leave(id) {
    this.#wanted.delete(id);
    return this.settle();
  }

  /** Find out what became of those that were left: of a post that stands the words are let go. */
  async settle() {
    for (const { taking: id, person } of this.#outbox.items) {
      if (!id || person !== this.#person.id || this.#isBusy(id)) continue;
      const { kind } = await this.#courier.load(id);
      if (kind === "gone") this.gone(id);
      else if (kind === "done" && !this.#isBusy(id)) this.#letGo(id);
    }
  }

  /** Post `id` is gone: its words are a draft again. False where none are kept. */
  gone(id) {
    const kept = this.#kept(id);
    if (!kept || this.#asked.has(id)) return false;
    this.#outbox.update(kept.key, { taking: null });
    return true;
  }

  #isBusy(id) {
    return this.#wanted.has(id) || this.#asked.has(id);
  }

  #letGo(id) {
    const kept = this.#kept(id);
    if (kept) this.#outbox.take(kept.key);
  }

  #kept(id) {
    const mine = this.#person.id;
    return this.#outbox.items.find(({ taking, person }) => taking === id && person === mine);
  }
}
