/** A post is taken back once, or stands; its words never stand beside it as if they were not posted. */

import { Courier } from "/static/js/courier.js";
import { Retraction } from "/static/js/retraction.js";
import { rowOf } from "/static/js/thread.js";
import { ANA, asking, equal, newShelf, outboxOn, test, words } from "/tests/js/harness.js";

const GONE = { status: 404, json: {} };
const REMOVED = { status: 204 };
const STANDS = { status: 200, json: { id: "p1" } };

function world(...answers) {
  const { outbox } = outboxOn(newShelf());
  const { ask, asked } = asking(...answers);
  const retraction = new Retraction({ outbox, courier: new Courier("live", ANA, ask), person: ANA });
  return { outbox, retraction, asked, kept: () => outbox.items.map(({ taking }) => taking) };
}

test("while it isn't known, the words are kept as those of a live post, with one way on", async () => {
  const { retraction, outbox } = world(null);

  const { item, why } = await retraction.take("p1", words("Undo me"));

  equal([item, why], [undefined, "The network broke off."]);
  const [kept] = outbox.items;
  const { state, why: said, ways } = rowOf(kept, outbox.stateOf(kept), { person: ANA.id });
  equal([state, said, ways], ["live", "Not taken back yet, still live.", ["back"]]);
});

test("a second try uses the words that are kept, and gives them back once", async () => {
  const { retraction, outbox, kept } = world(null, REMOVED);

  await retraction.take("p1", words("Undo me"));
  const { item } = await retraction.take("p1", words("Undo me"));

  equal(item.words.body, "Undo me");
  equal([outbox.items.length, item.key], [1, outbox.items[0].key]);
  equal(kept(), [null]);
});

test("who leaves it live keeps no draft of it", async () => {
  const { retraction, kept } = world(null, null, STANDS);

  await retraction.take("p1", words("Undo me"));
  await retraction.leave("p1");
  equal(kept(), ["p1"]); // The network is still away: nothing is known.
  await retraction.settle();

  equal(kept(), []);
});

test("whose removal arrived although its answer didn't has the words as a draft", async () => {
  const { retraction, outbox, kept } = world(null, GONE);

  await retraction.take("p1", words("Undo me"));
  await retraction.leave("p1");

  equal(kept(), [null]);
  equal(rowOf(outbox.items[0], "held", { person: ANA.id }).ways, ["edit", "copy", "discard"]);
});

test("the stream's word that it is gone makes a draft of it too", async () => {
  const { retraction, kept } = world(null);

  await retraction.take("p1", words("Undo me"));

  equal([retraction.gone("p1"), kept()], [true, [null]]);
  equal(retraction.gone("p2"), false);
});

test("the server's no leaves the post and keeps nothing", async () => {
  const { retraction, kept } = world({ status: 401, json: {} });

  const { why } = await retraction.take("p1", words("Undo me"));

  equal([why, kept()], ["You are signed out.", []]);
});

test("nothing is settled while somebody may still press Try again", async () => {
  const { retraction, asked } = world(null);

  await retraction.take("p1", words("Undo me"));
  await retraction.settle();

  equal(asked.length, 1);
});
