import { judge } from "/static/js/cursor.js";
import shared from "/tests/vectors/cursor.json" with { type: "json" };
import { assert, equal, test } from "/tests/js/harness.js";

const { judge: vectors } = shared;

// A page holds an offset alone; what tags and epochs tell is the server's to say, by `resumed`.
const offsetOf = (cursor) => Number(cursor.split(".")[1]);
const ours = vectors.filter(({ verdict }) => verdict !== "replaced");

test("enough of the shared vectors concern a page", () => assert(ours.length >= 5, ours.length));

for (const { claim, held, entry, verdict } of ours) {
  test(claim, () => equal(judge(offsetOf(held), offsetOf(entry)), verdict));
}

test("whoever holds nothing takes the first that comes", () => equal(judge(null, 77), "next"));
