/** Runs the tests of a page: each module registers its own, `window.results` resolves when all are done. */

const LONGEST_MS = 5000;
const tests = [];

/** Register a test; `name` is its claim. */
export function test(name, run) {
  tests.push({ name, run });
}

export function ok(value, what = "it") {
  if (!value) throw new Error(`${what} isn't so: ${show(value)}`);
}

export function equal(actual, expected, what = "it") {
  if (show(actual) !== show(expected)) {
    throw new Error(`${what} is ${show(actual)}, and not ${show(expected)}`);
  }
}

/** Wait until `condition` is true, and answer what it gave. */
export async function until(condition, what = condition.toString()) {
  const end = performance.now() + LONGEST_MS - 500;
  for (;;) {
    const value = condition();
    if (value) return value;
    if (performance.now() > end) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function show(value) {
  return JSON.stringify(value) ?? String(value);
}

async function result({ name, run }) {
  let timer = null;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("took too long")), LONGEST_MS);
  });
  try {
    await Promise.race([run(), late]);
    return { name, ok: true, error: null };
  } catch (error) {
    return { name, ok: false, error: String(error?.stack ?? error) };
  } finally {
    clearTimeout(timer);
  }
}

async function all() {
  const results = [];
  for (const each of tests) results.push(await result(each));
  return results;
}

// After `load` every module of the page has registered what it has.
addEventListener("load", () => {
  window.results = all();
});
