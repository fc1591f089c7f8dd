/** Times are said as people say them, in the hall's zone. */

import { ago, clockIn } from "/static/js/times.js";
import { equal, test } from "./harness.js";

const NOW = Date.parse("2026-11-28T14:32:00Z");

for (const [seconds, said] of [
  [0, "now"],
  [59, "now"],
  [60, "1 min ago"],
  [3599, "59 min ago"],
  [3600, "1 h ago"],
  [23 * 3600, "23 h ago"],
  [24 * 3600, "1 d ago"],
  [-5, "now"],
]) {
  test(`${seconds} seconds ago is “${said}”`, () => equal(ago(NOW - seconds * 1000, NOW), said));
}

test("the clock is the hall's, not the phone's", () => {
  equal(clockIn("Europe/London")(NOW), "14:32");
  equal(clockIn("Asia/Kolkata")(NOW), "20:02");
  equal(clockIn("Europe/London")(Date.parse("2026-11-28T00:05:00Z")), "00:05");
});
