import { delaySeconds, isFinal } from "/static/js/backoff.js";
import { assert, equal, test } from "/tests/js/harness.js";

test("the bound of the wait doubles, up to half a minute", () => {
  const bounds = [0, 1, 2, 5, 6, 50].map((tries) => delaySeconds(tries, () => 1));
  equal(bounds, [0.6, 1.1, 2.1, 16.1, 30.1, 30.1]);
});

test("the jitter is full: it may be next to nothing", () => {
  assert(delaySeconds(50, () => 0) < 0.2);
});

test("only the codes that say so end it for good", () => {
  equal([1001, 1006, 1012, 1013, 4001, 4008, 4029, 4399].map(isFinal).filter(Boolean), []);
  equal([4400, 4401, 4403, 4404, 4499].map(isFinal).filter(Boolean).length, 5);
});
