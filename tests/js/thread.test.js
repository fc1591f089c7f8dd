import { standingOf } from "/static/js/standing.js";
import { rowOf } from "/static/js/thread.js";
import { equal, test } from "/tests/js/harness.js";
import { words } from "/tests/js/phone.js";

const item = (more = {}) => ({ key: "k", at: "2026-11-28T14:28:00Z", person: "ana", name: "Ana", words: words("Text"), ...more });
const well = { link: "open", state: "live", viewers: 412, waiting: 0, isFailing: false, isSignedOut: false, isOnline: true };
const line = (more) => {
  const { name, detail } = standingOf({ ...well, ...more });
  return `${name}: ${detail}`;
};

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

test("the header says the worst that is true, and what is kept", () => {
  equal(line({}), "live: 412 reading");
  equal(line({ state: "paused" }), "paused: 412 reading");
  equal(line({ link: "waiting" }), "weak: reconnecting");
  equal(line({ isFailing: true, waiting: 3 }), "weak: 3 waiting, safe on this phone");
  equal(line({ isOnline: false }), "offline: write on, it is kept here");
  equal(line({ isOnline: false, isFailing: true, waiting: 1 }), "offline: 1 waiting, safe on this phone");
  equal(line({ isSignedOut: true, isOnline: false, waiting: 2 }), "signed-out: 2 waiting, safe on this phone");
});
