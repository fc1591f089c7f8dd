/** A post is one row, however early the stream brings it. */

import { Arrivals } from "/static/js/arrivals.js";
import { equal, test } from "/tests/js/harness.js";

const row = (id, minute) => ({ id, at: `2026-11-28T14:${minute}:00Z` });
const ids = (rows) => rows.map(({ id }) => id);
const SINCE = "2026-11-28T14:20:00Z";

test("what comes while one is on its way is shown once the answer is here", () => {
  const arrivals = new Arrivals();
  const rows = [row("a", 10), row("b", 21)];
  equal(ids(arrivals.settled([row("a", 10)])), ["a"]);
  equal(ids(arrivals.settled(rows, SINCE)), ["a"]);
  equal(ids(arrivals.settled(rows)), ["a", "b"]);
});

test("the answer names its post while the next is on its way already", () => {
  const arrivals = new Arrivals();
  arrivals.settled([]);
  arrivals.know("b");
  equal(ids(arrivals.settled([row("b", 21), row("c", 22)], SINCE)), ["b"]);
});

test("a page that opens with one on its way hides what is younger", () => {
  equal(ids(new Arrivals().settled([row("a", 10), row("b", 21)], SINCE)), ["a"]);
});
