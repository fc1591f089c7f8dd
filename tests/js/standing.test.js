import { standingOf } from "/static/js/standing.js";
import { equal, test } from "/tests/js/harness.js";

const well = { link: "open", state: "live", viewers: 412, waiting: 0, isFailing: false, isSignedOut: false, isOnline: true };
const line = (more) => {
  const { name, detail } = standingOf({ ...well, ...more });
  return `${name}: ${detail}`;
};

test("the header says the worst that is true, and what is kept", () => {
  equal(line({}), "live: 412 reading");
  equal(line({ state: "paused" }), "paused: 412 reading");
  equal(line({ link: "waiting" }), "weak: reconnecting");
  equal(line({ isFailing: true, waiting: 3 }), "weak: 3 waiting, safe on this phone");
  equal(line({ isOnline: false }), "offline: write on, it is kept here");
  equal(line({ isOnline: false, isFailing: true, waiting: 1 }), "offline: 1 waiting, safe on this phone");
  equal(line({ isSignedOut: true, isOnline: false, waiting: 2 }), "signed-out: 2 waiting, safe on this phone");
});
