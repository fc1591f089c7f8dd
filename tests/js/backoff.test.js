/** Tries come apart, spread over the whole of their time, and never stop for good without reason. */

import { delaySeconds, isFinal } from "/static/js/backoff.js";
import { equal, ok, test } from "./harness.js";

test("the longest wait doubles from half a second up to thirty", () => {
  const most = [0, 1, 2, 3, 4, 5, 6, 50].map((tries) => Math.round(delaySeconds(tries, () => 1) * 10) / 10);

  equal(most, [0.6, 1.1, 2.1, 4.1, 8.1, 16.1, 30.1, 30.1]);
});

test("the jitter is full: a wait may be next to nothing after any number of tries", () => {
  for (const tries of [0, 5, 500]) ok(delaySeconds(tries, () => 0) <= 0.1, `try ${tries}`);
});

test("only the codes from 4400 to 4499 are final", () => {
  const codes = [1000, 1001, 1006, 1012, 1013, 4001, 4008, 4029, 4399, 4400, 4401, 4403, 4404, 4499, 4500];

  equal(codes.filter(isFinal), [4400, 4401, 4403, 4404, 4499]);
});
