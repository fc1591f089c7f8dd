import { rowOf } from "/static/js/thread.js";
import { equal, test, words } from "/tests/js/harness.js";

const item = (more = {}) => ({ key: "k", at: "2026-11-28T14:28:00Z", person: "ana", name: "Ana", words: words("Text"), ...more });

test("a row that isn't sent says what broke, what is kept and the way out", () => {
  const row = rowOf(item({ trouble: { kind: "later", why: "The network broke off." } }), "failing");

  equal(row.why, "The network broke off. Your text is kept here. We try again by ourselves.");
  equal(row.ways, ["retry", "edit", "copy"]);
});

test("whatever stops an item, its words can be copied", () => {
  for (const kind of ["signed-out", "refused", "reused", "gone", "changed"]) {
    const row = rowOf(item({ trouble: { kind, why: "Why." } }), "stopped");
    equal(row.ways.includes("copy"), true);
    equal(row.why, "Why. Your text is kept here.");
  }
});

test("a change that met another offers both", () => {
  const trouble = { kind: "changed", why: "Somebody changed it meanwhile." };

  equal(rowOf(item({ post: "p", trouble }), "stopped").ways, ["overwrite", "theirs", "copy"]);
});

test("what somebody else left says whose it is, and warns where it may have arrived", () => {
  const left = (more) => rowOf(item(more), "held", { person: "ben" }).why;

  equal(left({}), "Left on this phone by Ana, not posted.");
  equal(left({ tried: true }), "Left on this phone by Ana. It may have arrived: see the feed first.");
});

test("a row that only waits its turn has no buttons until something is stuck", () => {
  equal(rowOf(item(), "queued").ways, []);
  equal(rowOf(item(), "queued", { isStuck: true }).ways, ["edit"]);
});
