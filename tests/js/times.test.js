import { ago, clockIn } from "/static/js/times.js";
import { equal, test } from "/tests/js/harness.js";

const NOW = Date.UTC(2026, 10, 28, 14, 32);
const before = (minutes) => ago(NOW - minutes * 60_000, NOW);

test("how long ago is said in the unit that suits it", () => {
  equal([0, 1, 59, 60, 119, 1439, 1440, 4000].map(before), [
    "now", "1 min ago", "59 min ago", "1 h ago", "1 h ago", "23 h ago", "1 d ago", "2 d ago",
  ]);
});

test("a clock that runs ahead doesn't show posts from the future", () => equal(before(-5), "now"));

test("the hall's clock is shown, wherever the reader is", () => {
  equal(clockIn("Europe/London")(NOW), "14:32");
  equal(clockIn("Asia/Kolkata")(NOW), "20:02");
});
