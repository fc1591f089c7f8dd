/** The screen while the site can't be read: try again until it can, and only then load it. */

const EVERY_MS = 5000;

async function look() {
  try {
    const answer = await fetch(location.href, {
      headers: { accept: "text/html" },
      cache: "no-store",
      signal: AbortSignal.timeout(15_000),
    });
    // Not before: what a browser shows where it reaches nothing would stay for good.
    if (answer.status < 500) return location.reload();
  } catch {
    // Nobody is there; next time, perhaps.
  }
  setTimeout(look, EVERY_MS);
}

setTimeout(look, EVERY_MS);
