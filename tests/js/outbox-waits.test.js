import { equal, eventually, test } from "/tests/js/harness.js";
import { LATER, newShelf, outboxOn, words } from "/tests/js/phone.js";

const bodies = (items) => items.map((item) => item.words.body);

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
