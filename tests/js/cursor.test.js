/** An entry is judged as the vectors that every implementation shares say. */

import { judge } from "/static/js/cursor.js";
import { equal, ok, test } from "./harness.js";

const vectors = await (await fetch("/tests/vectors/cursor.json")).json();
const offset = (cursor) => Number(cursor.split(".")[1]);

// A page only echoes cursors: what takes an epoch or a tag to see, the server sees for it.
const seenByOffset = vectors.judge.filter(({ verdict }) => verdict !== "replaced");

for (const { claim, held, entry, verdict } of seenByOffset) {
  test(`the vectors: ${claim}`, () => equal(judge(offset(held), offset(entry)), verdict));
}

test("the vectors reach every verdict of a page", () => {
  const verdicts = new Set(seenByOffset.map(({ verdict }) => verdict));
  for (const verdict of ["next", "seen", "gap"]) ok(verdicts.has(verdict), verdict);
});

test("whoever holds nothing takes whatever comes", () => equal(judge(null, 131), "next"));
