/** What the suites share: a shelf of their own, a network that answers as told, and waiting with a deadline. */

import { Shelf } from "/static/js/shelf.js";

let count = 0;

/** A shelf in the browser's own storage that no other test sees. */
export function freshShelf() {
  return Shelf.of(`test-${Date.now()}-${++count}`);
}

export function equal(is, should) {
  const [one, other] = [JSON.stringify(is), JSON.stringify(should)];
  if (one !== other) throw new Error(`${one} instead of ${other}`);
}

export async function eventually(condition, patience = 3_000) {
  const end = Date.now() + patience;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`never came true: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
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
