import { Courier } from "/static/js/courier.js";
import { ANA, asking, equal, json, page, test, withNetwork, words } from "/tests/js/harness.js";

const post = (body, revision = 1) => ({ id: "p1", revision, ...words(body), headline: null });
const created = (body, revision) => ({ status: 201, json: post(body, revision) });
const ok = (body, revision) => ({ status: 200, json: post(body, revision) });
const reused = { status: 422, json: { detail: "used for other words" } };
const stale = { status: 412, json: {} };
const item = (body, more = {}) => ({ key: "k1", at: "2026-11-28T14:28:00Z", words: words(body), earlier: [], ...more });

test("a post goes out under its key, with the moment it was written", async () => {
  const { ask, asked } = asking(created("one"));

  const outcome = await new Courier("live", ANA, ask).deliver(item("one"));

  equal(outcome.kind, "done");
  equal(asked[0].url, "/api/blogs/live/posts");
  // It names who wrote it: the cookie may be another's by now.
  equal(asked[0].headers, { "liveblog-person": "ana", "idempotency-key": "k1" });
  equal(asked[0].body.captured_at, "2026-11-28T14:28:00Z");
});

test("no answer means later, whatever was sent", async () => {
  for (const sent of [item("one"), item("one", { post: "p1", revision: 1 })]) {
    equal((await new Courier("live", ANA, asking(null).ask).deliver(sent)).kind, "later");
  }
});

test("JSON that is no post is somebody else's answer", async () => {
  const outcome = await new Courier("live", ANA, asking({ status: 200, json: {} }).ask).deliver(item("one"));

  equal(outcome.kind, "later");
});

test("words edited after a lost answer change the post that had arrived", async () => {
  const { ask, asked } = asking(reused, created("one", 1), ok("two", 2));
  const noted = [];

  const outcome = await new Courier("live", ANA, ask).deliver(
    item("two", { earlier: [words("one")] }),
    (changes) => noted.push(changes),
  );

  equal(outcome.post.revision, 2);
  equal(noted, [{ post: "p1", revision: 1 }]);
  equal(asked.map(({ method, body }) => [method, body.body]), [["POST", "two"], ["POST", "one"], ["PATCH", "two"]]);
  equal(asked[2].headers, { "liveblog-person": "ana", "if-match": '"1"' });
});

test("of several earlier words the ones that arrived are found", async () => {
  const { ask, asked } = asking(reused, reused, created("two", 1), ok("three", 2));
  const sent = item("three", { earlier: [words("one"), words("two")] });

  equal((await new Courier("live", ANA, ask).deliver(sent)).kind, "done");
  equal(asked.length, 4);
});

test("a key that stands for words nobody here knows is said", async () => {
  equal((await new Courier("live", ANA, asking(reused).ask).deliver(item("one"))).kind, "reused");
});

test("a change whose answer was lost is done when the same words stand", async () => {
  const { ask } = asking(stale, ok("new ", 2));

  const outcome = await new Courier("live", ANA, ask).deliver(item("new", { post: "p1", revision: 1 }));

  equal(outcome.kind, "done");
});

test("a change against other words gives theirs, and loses nothing", async () => {
  const { ask } = asking(stale, ok("theirs", 4));

  const outcome = await new Courier("live", ANA, ask).deliver(item("mine", { post: "p1", revision: 1 }));

  equal(outcome.kind, "changed");
  equal(outcome.theirs, { revision: 4, words: words("theirs") });
});

test("a change of a post that is gone says so", async () => {
  const { ask } = asking({ status: 404, json: {} });

  equal((await new Courier("live", ANA, ask).deliver(item("mine", { post: "p1", revision: 1 }))).kind, "gone");
});

test("removing what is gone already is as good as removing it", async () => {
  for (const status of [204, 404, 410]) {
    equal((await new Courier("live", ANA, asking({ status }).ask).remove("p1")).kind, "done");
  }
  equal((await new Courier("live", ANA, asking(null).ask).remove("p1")).kind, "later");
});

test("HTML, other people's JSON, a redirect and a broken line are no answer", async () => {
  const courier = new Courier("live", ANA);
  for (const answer of [
    () => page(200),
    () => page(401),
    () => page(404),
    () => page(503),
    () => json(200, { logged: "in" }),
    () => Response.redirect("http://localhost/portal"),
    () => new Response("{", { headers: { "content-type": "application/json" } }),
    () => Promise.reject(new TypeError("Failed to fetch")),
  ]) {
    await withNetwork(answer, async () => equal((await courier.deliver(item("one"))).kind, "later"));
  }
  // Control: the server's own answer is one.
  await withNetwork(
    () => json(201, { id: "p1" }),
    async () => equal((await courier.deliver(item("one"))).kind, "done"),
  );
});
