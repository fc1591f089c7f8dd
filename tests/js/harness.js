/** The least a test of a module needs: `test` registers, the page's end runs all of them in turn. */

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

export { assert as ok, eventually as until };

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
