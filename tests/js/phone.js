/** What the composer's tests stand on: a phone's storage of their own, a server that answers as told. */

import { Unreached } from "/static/js/exchange.js";
import { Outbox } from "/static/js/outbox.js";
import { Shelf } from "/static/js/shelf.js";

export const ANA = { id: "ana", name: "Ana" };
export const LATER = { kind: "later", why: "The network broke off.", seconds: 0 };

export async function throws(kind, work) {
  try {
    await work();
  } catch (error) {
    if (error instanceof kind) return error;
    throw error;
  }
  throw new Error(`${kind.name} was not thrown`);
}

let phones = 0;

/** A shelf that no other test uses. */
export function newShelf() {
  phones += 1;
  return new Shelf(localStorage, `phone-${phones}-${Math.random().toString(36).slice(2)}`);
}

export function words(body, more = {}) {
  return { body, kind: "update", headline: "", key: false, tags: [], ...more };
}

/** An outbox whose server answers what `outcomes` gives, one after the other, then always `done`. */
export function outboxOn(shelf, outcomes = [], { person = ANA, locks = null, delays = [0.01] } = {}) {
  const sent = [];
  const deliver = async (item) => {
    sent.push(item);
    const outcome = await (outcomes.shift() ?? { kind: "done" });
    return outcome.kind === "done" ? { kind: "done", post: { id: `p-${item.words.body}` } } : outcome;
  };
  return { outbox: new Outbox({ shelf, person, deliver, locks, delays }), sent };
}

/** A server behind `exchange`: answers in order; null is an answer that was lost. */
export function asking(...answers) {
  const asked = [];
  const ask = async (method, url, { body, headers } = {}) => {
    asked.push({ method, url, body, headers });
    const answer = answers.shift();
    if (!answer) throw new Unreached("The network broke off.");
    return { retryAfter: 0, json: null, ...answer };
  };
  return { ask, asked };
}
