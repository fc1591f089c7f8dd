/** Takes one item of the outbox to the server, and says what became of it. */

import { exchange, meaning, unreached, Unreached } from "./exchange.js";
import { isSame, payload, wordsOf } from "./words.js";

export class Courier {
  #posts;
  #ask;

  /** `person` is named with each request: who signs in on this phone later must not send it. */
  constructor(slug, person, ask = exchange) {
    this.#posts = `/api/blogs/${slug}/posts`;
    this.#ask = (method, url, { body, headers } = {}) =>
      ask(method, url, { body, headers: { "liveblog-person": person.id, ...headers } });
  }

  /**
   * Send an item: a new post under its key, or the change of one against its revision.
   * `note(changes)` keeps what must outlive this page before the next request goes out.
   * Answers `{kind: "done", post}`, or what `meaning` says.
   */
  async deliver(item, note = () => {}) {
    try {
      return await (item.post ? this.#change(item) : this.#publish(item, note));
    } catch (error) {
      if (error instanceof Unreached) return unreached(error);
      throw error;
    }
  }

  /** The post as it stands: `{kind: "done", post}`, or why not. */
  async load(id) {
    return this.#tried(() => this.#ask("GET", this.#address(id)));
  }

  /** Take a post back. Gone already is as good. */
  async remove(id) {
    const outcome = await this.#tried(() => this.#ask("DELETE", this.#address(id)));
    return outcome.kind === "gone" ? { kind: "done" } : outcome;
  }

  async #publish(item, note) {
    const answer = await this.#post(item, item.words);
    const outcome = this.#outcome(answer);
    if (outcome.kind !== "reused") return outcome;
    // An earlier try arrived although its answer didn't, and was edited since: find out which
    // words stand (the key answers for them with the post), then change that post.
    for (const words of item.earlier ?? []) {
      const first = this.#outcome(await this.#post(item, words));
      if (first.kind === "reused") continue;
      if (first.kind !== "done") return first;
      const found = { post: first.post.id, revision: first.post.revision };
      note(found);
      return this.#change({ ...item, ...found });
    }
    return outcome;
  }

  #post(item, words) {
    return this.#ask("POST", this.#posts, {
      body: { ...payload(words), captured_at: item.at },
      headers: { "idempotency-key": item.key },
    });
  }

  async #change({ post, revision, words }) {
    const outcome = this.#outcome(
      await this.#ask("PATCH", this.#address(post), {
        body: payload(words),
        headers: { "if-match": `"${revision}"` },
      }),
    );
    if (outcome.kind !== "changed") return outcome;
    const stands = this.#outcome(await this.#ask("GET", this.#address(post)));
    if (stands.kind !== "done") return stands;
    // The change that stands may be our own, whose answer was lost.
    if (isSame(wordsOf(stands.post), words)) return stands;
    return { ...outcome, theirs: { revision: stands.post.revision, words: wordsOf(stands.post) } };
  }

  async #tried(request) {
    try {
      return this.#outcome(await request());
    } catch (error) {
      if (error instanceof Unreached) return unreached(error);
      throw error;
    }
  }

  #outcome(answer) {
    if (answer.status === 204) return { kind: "done" };
    if (answer.status !== 200 && answer.status !== 201) return meaning(answer);
    // Some portals answer everything with 200 and JSON of their own.
    if (typeof answer.json?.id !== "string") throw new Unreached("Something in between answered.");
    return { kind: "done", post: answer.json };
  }

  #address(id) {
    return `${this.#posts}/${encodeURIComponent(id)}`;
  }
}
