/**
 * What the suites stand on: `test` registers, the page's end runs all of them in turn; a phone's
 * storage, an outbox and a network of a test's own.
 */

import { Unreached } from "/static/js/exchange.js";
import { Outbox } from "/static/js/outbox.js";
import { Shelf } from "/static/js/shelf.js";

export const ANA = { id: "ana", name: "Ana" };
export const LATER = { kind: "later", why: "The network broke off.", seconds: 0 };

const registered = [];

export function test(name, run) {
  registered.push({ name, run });
}

export function assert(holds, claim = "it doesn't hold") {
  if (!holds) throw new Error(claim);
}

/** Deep equality by JSON, which is all that plain values need. */
export function equal(found, wanted) {
  const [one, other] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (one !== other) throw new Error(`found ${one}, wanted ${other}`);
}

/** A promise that is kept once `holds()`; a condition with a deadline, and no sleep for luck. */
export async function eventually(holds, milliseconds = 3000) {
  const deadline = performance.now() + milliseconds;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`never came true: ${holds}`);
    await new Promise((wake) => setTimeout(wake, 5));
  }
}

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

/** A shelf in the browser's own storage that no other test uses. */
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

/** A promise that is settled from outside. */
export function promised() {
  let resolve;
  const promise = new Promise((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

/** Run `work` while `answer(request)` stands in for the network; gives the requests that went out. */
export async function withNetwork(answer, work) {
  const { fetch } = globalThis;
  const requests = [];
  globalThis.fetch = async (url, { method, body, headers, signal }) => {
    const request = { url, method, headers, signal, body: body && JSON.parse(body) };
    requests.push(request);
    return answer(request);
  };
  try {
    await work(requests);
  } finally {
    globalThis.fetch = fetch;
  }
  return requests;
}

export function json(status, value, headers = {}) {
  return new Response(JSON.stringify(value), {
    status,
    headers: { "content-type": "application/json", ...headers },
  });
}

export function page(status = 200) {
  return new Response("<h1>Welcome to our Wi-Fi</h1>", {
    status,
    headers: { "content-type": "text/html" },
  });
}

async function runAll() {
  const results = [];
  for (const { name, run } of registered) {
    try {
      await run();
      results.push({ name, ok: true, error: null });
    } catch (error) {
      results.push({ name, ok: false, error: `${error.message}\n${error.stack}` });
    }
  }
  return results;
}

addEventListener("load", () => {
  window.results = runAll();
});
