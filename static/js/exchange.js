/** One request to the API, bounded in time, and what its answer means for the person who sent it. */

const PATIENCE_MS = 20_000;

/** No answer of the server's came: whether it took what was sent isn't known. */
export class Unreached extends Error {}

/**
 * Send one request and read the whole answer: `{status, json, retryAfter}`.
 * Throws `Unreached`. What isn't JSON, or leads elsewhere, was said by something in between
 * (a captive portal, a proxy), so it counts as no answer.
 */
export async function exchange(method, url, { body, headers, patience = PATIENCE_MS } = {}) {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), patience);
  try {
    const response = await fetch(url, {
      method,
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: {
        accept: "application/json",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      redirect: "manual",
      cache: "no-store",
      signal: controller.signal,
    });
    const { status } = response;
    const isJson = /[/+]json/.test(response.headers.get("content-type") ?? "");
    if (!isJson && !(status === 204 && method === "DELETE")) {
      throw new Unreached("Something in between answered, not the server.");
    }
    const json = isJson ? await response.json() : null;
    return { status, json, retryAfter: Number(response.headers.get("retry-after")) || 0 };
  } catch (error) {
    if (error instanceof Unreached) throw error;
    throw new Unreached(
      controller.signal.aborted ? "No answer came in time." : "The network broke off.",
    );
  } finally {
    clearTimeout(timer);
  }
}

/**
 * What an answer that isn't a success means: `{kind, why, seconds}`.
 * Kinds: `later` (the same request again, by itself), `signed-out`, `gone`, `changed` (another
 * revision stands), `reused` (the key stands for other words), `refused`.
 */
export function meaning({ status, json, retryAfter }) {
  const why = json?.detail || json?.title || `The server answered ${status}.`;
  if (status === 409) return later("The first try is still under way.", retryAfter || 1);
  if (status === 408) return later(why, retryAfter);
  if (status === 429) return later("The server asks to wait a little.", retryAfter || 5);
  if (status === 503) return later("The server can't take it right now.", retryAfter);
  if (status >= 500) return later("Something broke on the server.", retryAfter);
  if (status === 401) return { kind: "signed-out", why: "You are signed out." };
  if (status === 403) return { kind: "signed-out", why };
  if (status === 404 || status === 410) return { kind: "gone", why: "It was removed meanwhile." };
  if (status === 412) return { kind: "changed", why: "Somebody changed it meanwhile." };
  if (status === 422 && json?.errors) {
    return { kind: "refused", why: json.errors.map(sentence).join(" "), errors: json.errors };
  }
  if (status === 422) {
    return { kind: "reused", why: "Other words were posted under the same key; see the feed." };
  }
  return { kind: "refused", why };
}

/** What no answer means. */
export function unreached(error) {
  return later(error.message, 0);
}

/** A random name for one thing sent, so that a repetition is known as one. */
export function newKey() {
  // Not randomUUID: a hall's server may be plain http, where browsers withhold it.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const FIELDS = { body: "The text", headline: "The headline", name: "The name", secret: "The link" };

function sentence({ field, message }) {
  const of = field === "tags" ? (message.startsWith("are ") ? "The tags" : "A tag") : FIELDS[field];
  return `${of ?? field} ${message}.`;
}

function later(why, seconds) {
  return { kind: "later", why, seconds };
}
