import { Courier } from "/static/js/courier.js";
import { Outbox } from "/static/js/outbox.js";
import { Shelf } from "/static/js/shelf.js";
import {
  ANA, equal, eventually, json, LATER, newShelf, outboxOn, page, promised, test, withNetwork, words,
} from "/tests/js/harness.js"; // prettier-ignore

let people = 0;

/** An outbox of a person of its own, so that no lock and no item is shared between tests. */
function boxOf(deliver, { shelf = newShelf(), id = `ana-${++people}`, delays = [0.01] } = {}) {
  const outbox = new Outbox({ shelf, person: { id, name: "Ana" }, deliver, delays });
  return { outbox, shelf, id };
}

const done = (id) => ({ kind: "done", post: { id } });
const bodies = (items) => items.map((item) => item.words.body);

test("items go out in the order in which they were posted", async () => {
  const sent = [];
  const { outbox } = boxOf(async (item) => {
    sent.push(item.words.body);
    return done(item.key);
  });

  for (const body of ["one", "two", "three", "four"]) outbox.add({ words: words(body) });

  await eventually(() => !outbox.items.length);
  equal(sent, ["one", "two", "three", "four"]);
});

test("one item is on its way at a time", async () => {
  let now = 0;
  let most = 0;
  const { outbox } = boxOf(async (item) => {
    most = Math.max(most, ++now);
    await new Promise((resolve) => setTimeout(resolve, 5));
    now -= 1;
    return done(item.key);
  });

  for (const body of ["one", "two", "three"]) outbox.add({ words: words(body) });
  outbox.kick();
  outbox.wake();

  await eventually(() => !outbox.items.length);
  equal(most, 1);
});

test("two tabs of one person send each item once", async () => {
  const sent = [];
  const deliver = async (item) => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    sent.push(item.words.body);
    return done(item.key);
  };
  const { outbox, shelf, id } = boxOf(deliver);
  const { outbox: other } = boxOf(deliver, { shelf, id });

  for (const body of ["one", "two"]) outbox.add({ words: words(body) });
  other.wake();

  await eventually(() => !outbox.items.length);
  // The other tab has had the lock after the first and found nothing.
  await navigator.locks.request(`liveblog outbox ${id}`, () => {});
  equal(sent, ["one", "two"]);
});

test("what failed is sent again under the same key, before what came after it", async () => {
  const tries = [];
  const { outbox } = boxOf(async (item) => {
    tries.push([item.words.body, item.key]);
    return tries.length < 3 ? LATER : done(item.key);
  });

  outbox.add({ words: words("first") });
  outbox.add({ words: words("second") });

  await eventually(() => !outbox.items.length);
  equal(tries.map(([body]) => body), ["first", "first", "first", "second"]);
  equal(new Set(tries.slice(0, 3).map(([, key]) => key)).size, 1);
  equal(new Set(tries.map(([, key]) => key)).size, 2);
});

test("the text stays on the phone until the server has it", async () => {
  const answer = promised();
  const asked = promised();
  const courier = new Courier("live", ANA);
  const { outbox, shelf } = boxOf((item, note) => courier.deliver(item, note));

  await withNetwork(
    () => (asked.resolve(), answer.promise),
    async () => {
      outbox.add({ words: words("Hands up") });
      await asked.promise;
      equal(bodies(outbox.items), ["Hands up"]);
      equal(shelf.names("out:").length, 1);
      answer.resolve(json(201, { id: "p1" }));
      await eventually(() => !outbox.items.length);
    },
  );
  equal(shelf.names("out:"), []);
});

test("an answer in HTML counts as unreached: the item is kept and sent again under its key", async () => {
  const answers = [page(200), page(404), page(502), json(200, { welcome: "portal" }), json(201, { id: "p1" })];
  const courier = new Courier("live", ANA);
  const { outbox } = boxOf((item, note) => courier.deliver(item, note));
  const kept = [];
  outbox.addEventListener("change", () => kept.push(outbox.items.length));
  const arrived = promised();
  outbox.addEventListener("sent", ({ detail }) => arrived.resolve([detail.post.id, kept.slice()]));

  const requests = await withNetwork(
    () => answers.shift(),
    async () => {
      outbox.add({ words: words("Hands up") });
      await eventually(() => !outbox.items.length);
    },
  );

  const [post, before] = await arrived.promise;
  equal(post, "p1");
  // The last change takes the item out, once the 201 is here; up to then it was always there.
  equal(before.slice(0, -1).every((number) => number === 1), true);
  equal(requests.length, 5);
  equal(new Set(requests.map(({ headers }) => headers["idempotency-key"])).size, 1);
});

test("a page that died in mid-send sends the same item under the same key when it is opened again", async () => {
  const keys = [];
  const never = new Promise(() => {});
  const { outbox, shelf, id } = boxOf((item) => (keys.push(item.key), never));
  outbox.add({ words: words("Hands up") });
  await eventually(() => keys.length === 1);
  equal(outbox.items[0].tried, true);

  // The dead page's lock went with it; here the next page belongs to nobody's lock.
  const next = new Outbox({
    shelf,
    person: { id, name: "Ana" },
    locks: null,
    deliver: async (item) => (keys.push(item.key), done("p1")),
  });
  next.wake();

  await eventually(() => !next.items.length);
  equal(keys.length, 2);
  equal(keys[0], keys[1]);
});

test("an item that is on its way can't be taken out", async () => {
  const answer = promised();
  const { outbox } = boxOf(() => answer.promise);
  const { key } = outbox.add({ words: words("Hands up") });
  await eventually(() => outbox.stateOf(outbox.items[0]) === "sending");

  equal(outbox.take(key), null);
  equal(bodies(outbox.items), ["Hands up"]);

  answer.resolve(done("p1"));
  await eventually(() => !outbox.items.length);
});

test("what the server refuses stops and stays, and what came after it goes on", async () => {
  const { outbox } = boxOf(async (item) =>
    item.words.body === "bad" ? { kind: "refused", why: "The text is too long." } : done(item.key),
  );

  outbox.add({ words: words("bad") });
  outbox.add({ words: words("good") });

  await eventually(() => outbox.items.length === 1);
  const [left] = outbox.items;
  equal(left.words.body, "bad");
  equal(outbox.stateOf(left), "stopped");
});

test("signed out, everything waits; waking sends it all in order", async () => {
  let isIn = false;
  const sent = [];
  const { outbox } = boxOf(async (item) => {
    if (!isIn) return { kind: "signed-out", why: "You are signed out." };
    sent.push(item.words.body);
    return done(item.key);
  });
  outbox.add({ words: words("one") });
  outbox.add({ words: words("two") });
  await eventually(() => outbox.isSignedOut);
  equal(bodies(outbox.items), ["one", "two"]);

  isIn = true;
  outbox.wake();

  await eventually(() => !outbox.items.length);
  equal(sent, ["one", "two"]);
});

test("what somebody else left on this phone is kept and never posted by itself", async () => {
  const shelf = newShelf();
  const { outbox: theirs } = boxOf(async () => LATER, { shelf, delays: [60] });
  theirs.add({ words: words("Ben's") });
  await eventually(() => theirs.isFailing);
  const sent = [];
  const { outbox } = boxOf(async (item) => (sent.push(item.words.body), done(item.key)), { shelf });

  outbox.add({ words: words("Ana's") });

  await eventually(() => sent.length === 1 && outbox.items.length === 1);
  equal(sent, ["Ana's"]);
  equal(bodies(outbox.items), ["Ben's"]);
  equal(outbox.stateOf(outbox.items[0]), "held");
});

test("where the phone keeps nothing, nothing is taken in and nothing sent", async () => {
  let tries = 0;
  const { outbox } = boxOf(async () => (tries++, done("p1")), { shelf: new Shelf(null, "hall") });

  equal(outbox.add({ words: words("Hands up") }), null);
  equal(tries, 0);

  // Control: carrying it, while the words stay in the editor, does send.
  equal((await outbox.carry({ words: words("Hands up") })).kind, "done");
  equal(tries, 1);
});

test("the server's Retry-After is waited out, unless somebody asks", async () => {
  const { outbox, sent } = outboxOn(newShelf(), [{ ...LATER, seconds: 60 }]);
  const { key } = outbox.add({ words: words("one") });
  await eventually(() => outbox.isFailing);

  outbox.kick();
  outbox.add({ words: words("two") });
  // A second try would have been made by the time that this task comes round.
  await new Promise((resolve) => setTimeout(resolve, 50));
  equal(sent.length, 1);

  outbox.retry(key);
  await eventually(() => outbox.items.length === 0);
  equal(bodies(sent), ["one", "one", "two"]);
});

test("an item that another tab took out is not brought back by an answer that failed", async () => {
  let answer;
  const shelf = newShelf();
  const { outbox } = outboxOn(shelf, [new Promise((resolve) => (answer = resolve))]);
  outbox.add({ words: words("one") });

  shelf.drop(shelf.names("out:")[0]);
  answer(LATER);

  await eventually(() => outbox.isFailing);
  equal(outbox.items, []);
});

test("what the phone can't keep can still be carried", async () => {
  const { outbox } = outboxOn(newShelf(), [LATER]);
  const arrived = [];
  outbox.addEventListener("sent", ({ detail }) => arrived.push(detail.post.id));

  equal((await outbox.carry({ words: words("one") })).kind, "later");
  equal((await outbox.carry({ words: words("one") })).kind, "done");
  equal(arrived, ["p-one"]);
});

test("a clock that is set back doesn't change the order", () => {
  const shelf = newShelf();
  const { outbox } = outboxOn(shelf, [new Promise(() => {})]);
  outbox.add({ words: words("one") });
  const [name] = shelf.names("out:");
  shelf.put(name, { ...shelf.get(name), order: Date.now() + 3_600_000 });

  outbox.add({ words: words("two") });

  equal(bodies(outbox.items), ["one", "two"]);
});
