/** What was posted and hasn't arrived: kept on the phone, sent in order, one at a time, until it has. */

import { newKey } from "./exchange.js";

const DELAYS_SECONDS = [1, 2, 4, 8, 15, 30];
const LOCK_PATIENCE_MS = 25_000;

/**
 * Says `change` whenever an item's state changed and `sent` (detail: item, post) when one arrived.
 *
 * An item: `key` (its Idempotency-Key), `order`, `at`, `person`, `name`, `words`; `post` and
 * `revision` where it changes a post; `earlier`, words that may have arrived under the same key;
 * `tried`; `held` where it waits for a person; `trouble`, why it isn't sent.
 */
export class Outbox extends EventTarget {
  #shelf;
  #person;
  #deliver;
  #locks;
  #delays;
  #sending = null;
  #timer = null;
  #running = false;
  #asked = false;
  #isOut = false;
  #failures = 0;
  #notBefore = 0;

  constructor({ shelf, person, deliver, locks = navigator.locks, delays = DELAYS_SECONDS }) {
    super();
    this.#shelf = shelf;
    this.#person = person;
    this.#deliver = deliver;
    this.#locks = locks;
    this.#delays = delays;
    shelf.watch((name) => name.startsWith("out:") && this.#changed());
  }

  /** All items, oldest first; those that somebody else left on this phone among them. */
  get items() {
    return this.#shelf
      .names("out:")
      .map((name) => this.#shelf.get(name))
      .filter((item) => item?.key)
      .sort((one, other) => one.order - other.order);
  }

  /** How many wait to be sent. */
  get waiting() {
    return this.items.filter((item) => this.stateOf(item) !== "held").length;
  }

  /** Whether the last try failed for want of a network or a server. */
  get isFailing() {
    return this.#failures > 0;
  }

  get isSignedOut() {
    return this.#isOut;
  }

  /** `held`, `sending`, `stopped` (needs a person), `failing` (tried again by itself) or `queued`. */
  stateOf(item) {
    if (item.held || item.person !== this.#person.id) return "held";
    if (item.key === this.#sending) return "sending";
    if (!item.trouble) return "queued";
    return item.trouble.kind === "later" ? "failing" : "stopped";
  }

  /** Take an item in and send it. Null where the phone can't keep it: then nothing was sent. */
  add(item) {
    const whole = this.#whole(item);
    if (!this.#keep(whole)) return null;
    this.#changed();
    if (!whole.held) this.kick();
    return whole;
  }

  /** Send an item that can't be kept, while its words stay where they are; what became of it. */
  async carry(item) {
    const whole = this.#whole(item);
    const outcome = await this.#alone(() => this.#deliver(whole, () => {}));
    if (outcome.kind === "done") this.#sent(whole, outcome.post);
    return outcome;
  }

  /** Keep what somebody else left in the editor, until a person decides. */
  hold(draft, person) {
    const item = { ...this.#whole(draft), held: true, person: person.id, name: person.name };
    return this.#keep(item);
  }

  /** Take an item out, to edit it or to let it go. Null while it is being sent. */
  take(key) {
    const item = this.#find(key);
    if (!item || key === this.#sending) return null;
    this.#shelf.drop(this.#name(item));
    this.#changed();
    return item;
  }

  /** Change what is known of an item, where it is still there. */
  update(key, changes) {
    const item = this.#find(key);
    if (!item) return;
    this.#keep({ ...item, ...changes });
    this.#changed();
  }

  /** Try an item again because somebody asked for it. */
  retry(key) {
    this.#isOut = false;
    this.#notBefore = 0;
    this.update(key, { trouble: null });
    this.kick();
  }

  /** Try now, or as soon as the server said: something was added, or the network may be back. */
  kick() {
    clearTimeout(this.#timer);
    const early = this.#notBefore - Date.now();
    if (early > 0) this.#timer = setTimeout(() => this.kick(), early);
    else if (this.#running) this.#asked = true;
    else this.#run();
  }

  /** Try now, and forget why not: the page was opened or looked at again, or the network is back. */
  wake() {
    this.#isOut = false;
    for (const { key, trouble } of this.items) {
      if (trouble?.kind === "signed-out") this.update(key, { trouble: null });
    }
    this.kick();
  }

  async #run() {
    this.#running = true;
    try {
      do {
        this.#asked = false;
        await this.#alone(() => this.#sendAll());
      } while (this.#asked && !this.#isOut && !this.isFailing);
    } finally {
      this.#running = false;
    }
  }

  async #sendAll() {
    if (this.#isOut) return;
    for (let item = this.#next(); item; item = this.#next()) {
      this.#sending = item.key;
      // Noted before it goes out: if the answer is lost with the page, it may have arrived.
      this.update(item.key, { tried: true });
      let outcome;
      try {
        outcome = await this.#deliver(item, (changes) => this.update(item.key, changes));
      } finally {
        this.#sending = null;
      }
      if (outcome.kind === "done") {
        this.#failures = 0;
        this.#sent(this.take(item.key) ?? item, outcome.post);
        continue;
      }
      const { kind, why, theirs } = outcome;
      this.#isOut = kind === "signed-out";
      if (kind === "later") this.#wait(outcome.seconds);
      this.update(item.key, { trouble: { kind, why, theirs } });
      this.#changed();
      if (kind === "later" || this.#isOut) return;
    }
  }

  #next() {
    return this.items.find((item) => ["queued", "failing"].includes(this.stateOf(item)));
  }

  #wait(seconds) {
    const delay = this.#delays[Math.min(this.#failures, this.#delays.length - 1)];
    this.#failures += 1;
    this.#notBefore = seconds ? Date.now() + seconds * 1000 : 0;
    const spread = delay * (0.5 + Math.random() / 2);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.kick(), Math.max(seconds, spread) * 1000);
  }

  /** Only one tab sends; where the browser has no locks, or one hangs, the keys make it harmless. */
  async #alone(work) {
    if (!this.#locks) return work();
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), LOCK_PATIENCE_MS);
    let started = false;
    const begin = () => {
      started = true;
      clearTimeout(timer);
      return work();
    };
    try {
      const name = `liveblog outbox ${this.#person.id}`;
      return await this.#locks.request(name, { signal: patience.signal }, begin);
    } catch (error) {
      if (started) throw error;
      return work();
    }
  }

  #whole(item) {
    const { id: person, name } = this.#person;
    const last = this.items.at(-1)?.order ?? 0;
    return {
      key: newKey(),
      at: new Date().toISOString(),
      earlier: [],
      ...item,
      // A clock that is set back must not change the order.
      order: Math.max(Date.now(), last + 1),
      person,
      name,
    };
  }

  #find(key) {
    return this.items.find((item) => item.key === key);
  }

  #keep(item) {
    return this.#shelf.put(this.#name(item), item);
  }

  #name(item) {
    return `out:${item.person}:${item.key}`;
  }

  #sent(item, post) {
    this.dispatchEvent(new CustomEvent("sent", { detail: { item, post } }));
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
