import { exchange, meaning, newKey, Unreached } from "/static/js/exchange.js";
import { equal, json, page, test, throws, withNetwork } from "/tests/js/harness.js";

/** What `work` gives over a network that answers `answer`. */
async function over(answer, work) {
  let given;
  await withNetwork(answer, async () => {
    given = await work();
  });
  return given;
}

test("JSON is the server's answer, with the seconds it asks to wait", async () => {
  const answer = await over(
    async () => json(503, { title: "Unavailable" }, { "retry-after": "7" }),
    () => exchange("POST", "/api", { body: {} }),
  );

  equal(answer, { status: 503, json: { title: "Unavailable" }, retryAfter: 7 });
});

test("a captive portal's page is no answer, whatever its status", async () => {
  for (const status of [200, 201, 511]) {
    await over(() => page(status), () => throws(Unreached, () => exchange("POST", "/api", { body: {} })));
  }
});

test("an empty 204 answers a removal and nothing else", async () => {
  const nothing = async () => new Response(null, { status: 204 });

  equal((await over(nothing, () => exchange("DELETE", "/api"))).status, 204);
  await over(nothing, () => throws(Unreached, () => exchange("POST", "/api", { body: {} })));
});

test("broken JSON and a broken network are no answer", async () => {
  const broken = async () => new Response("{", { headers: { "content-type": "application/json" } });
  const away = async () => {
    throw new TypeError("Failed to fetch");
  };

  for (const answer of [broken, away]) await over(answer, () => throws(Unreached, () => exchange("GET", "/api")));
});

test("patience ends: a server that says nothing is no answer", async () => {
  const silent = ({ signal }) =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));

  const error = await over(silent, () => throws(Unreached, () => exchange("GET", "/api", { patience: 20 })));

  equal(error.message, "No answer came in time.");
});

test("each status means one thing for the person who sent it", () => {
  const kinds = { 400: "refused", 401: "signed-out", 403: "signed-out", 404: "gone", 408: "later",
    409: "later", 410: "gone", 412: "changed", 413: "refused", 415: "refused", 422: "reused",
    428: "refused", 429: "later", 500: "later", 502: "later", 503: "later" }; // prettier-ignore

  for (const [status, kind] of Object.entries(kinds)) {
    equal(meaning({ status: Number(status), json: {}, retryAfter: 0 }).kind, kind);
  }
});

test("wrong fields are said as sentences", () => {
  const errors = [
    { field: "body", message: "is 20,050 characters long; at most 20,000 are taken" },
    { field: "tags", message: "are 11; at most 10 are taken" },
  ];

  const { kind, why } = meaning({ status: 422, json: { errors }, retryAfter: 0 });

  equal(kind, "refused");
  equal(why, "The text is 20,050 characters long; at most 20,000 are taken. The tags are 11; at most 10 are taken.");
});

test("keys are long, printable and never the same", () => {
  const keys = new Set(Array.from({ length: 1000 }, newKey));

  equal(keys.size, 1000);
  equal([...keys].every((key) => /^[0-9a-f]{32}$/.test(key)), true);
});
