/** The stream, against connections that the tests hold in their hands: each entry once, in order, for ever. */

import { Stream } from "/static/js/stream.js";
import { assert, equal, eventually, test } from "/tests/js/harness.js";

const SOCKET = window.WebSocket;
const random = Math.random;

/** A stream on sockets and event sources that do as the test says, with everything it said. */
function world(options = {}) {
  const opened = [];
  const said = [];
  class Connection {
    constructor(address) {
      this.address = new URL(address, location.href);
      opened.push(this);
    }
    close() {
      this.isClosed = true;
    }
    say(...frames) {
      for (const frame of frames) this.onmessage?.({ data: JSON.stringify(frame) });
    }
    drop(code = 1006) {
      (this.onclose ?? this.onerror)?.({ code });
    }
    get after() {
      return this.address.searchParams.get("after");
    }
  }
  window.WebSocket = class extends Connection {};
  window.EventSource = class extends Connection {
    kind = "events";
  };
  window.fetch = (path) =>
    new Promise((_, reject) => {
      const address = new URL(path, location.href);
      opened.push({ kind: "poll", address, drop: () => reject(new Error("cut")) });
    });
  Math.random = () => 0;
  const stream = new Stream({ slug: "live", cursor: "e.5.a", offset: 5, ...options });
  for (const type of ["welcome", "entry", "viewers", "link", "afresh"]) {
    stream.addEventListener(type, ({ detail }) => said.push({ type, detail }));
  }
  stream.start();
  return {
    stream,
    opened,
    last: () => opened.at(-1),
    next: (count) => eventually(() => opened.length === count),
    offsets: () => said.filter(({ type }) => type === "entry").map(({ detail }) => detail.offset),
    links: () => said.filter(({ type }) => type === "link").map(({ detail }) => detail.state),
    said: (type) => said.filter((one) => one.type === type).map(({ detail }) => detail),
  };
}

/** The page goes out of sight, or comes back. */
function look(isHidden) {
  Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}

const welcome = (more = {}) => ({ type: "welcome", cursor: "e.5.a", offset: 5, resumed: true, state: "live", viewers: 1, heartbeat_seconds: 25, ...more });
const entry = (offset) => ({ type: "entry", offset, cursor: `e.${offset}.t`, action: "publish", id: `p${offset}`, html: "" });

test("it asks for HTML from the page's own cursor on", () => {
  const { last } = world();

  equal(last().address.protocol, "ws:");
  equal(last().address.pathname, "/live/live");
  equal(last().address.search, "?format=html&after=e.5.a");
});

test("entries come once each and in order, whatever is sent twice", () => {
  const { last, offsets } = world();

  last().say(welcome({ offset: 7 }), entry(6), entry(6), entry(5), entry(7), entry(6));

  equal(offsets(), [6, 7]);
});

test("whoever comes back does so with the cursor of the last entry", async () => {
  const { last, next } = world();
  last().say(welcome(), entry(6));

  last().drop(1012);
  await next(2);

  equal(last().after, "e.6.t");
});

test("a hole is filled from the cursor held, and nothing after it is shown before", async () => {
  const { last, next, offsets, opened } = world();
  last().say(welcome(), entry(6), entry(8));
  await next(2);

  equal(offsets(), [6]);
  assert(opened[0].isClosed, "the old connection stays open");
  equal(last().after, "e.6.t");
  last().say(welcome({ offset: 8 }), entry(7), entry(8));
  equal(offsets(), [6, 7, 8]);
});

test("a heartbeat that is ahead is a hole, one that isn't is none", async () => {
  const { last, next, opened } = world();
  last().say(welcome(), { type: "heartbeat", offset: 5 });
  equal(opened.length, 1);

  last().say({ type: "heartbeat", offset: 6 });

  await next(2);
});

test("silence for one and a half heartbeats is a lost connection", async () => {
  const { last, next, links } = world();

  last().say(welcome({ heartbeat_seconds: 0.1 }));
  await next(2);

  equal(links(), ["open", "waiting"]);
});

for (const code of [4401, 4403, 4404]) {
  test(`after ${code} it stops and says so`, async () => {
    const { last, stream, said, opened } = world();
    last().say(welcome());

    last().drop(code);
    stream.retry();
    await new Promise((wake) => setTimeout(wake, 150));

    equal(said("link").at(-1), { state: "closed", code });
    equal(opened.length, 1);
  });
}

test("the hall's screen comes back even then", async () => {
  const { last, next } = world({ stubborn: true });
  last().say(welcome());

  last().drop(4404);

  await next(2);
});

test("where no socket ever opens, an event stream is tried, then the long poll, then a socket again", async () => {
  const { opened, last, next } = world();
  for (let tries = 1; tries < 7; tries++) {
    last().drop();
    await next(tries + 1);
  }

  equal(
    opened.map(({ kind = "socket" }) => kind),
    ["socket", "socket", "events", "events", "poll", "poll", "socket"],
  );
});

test("where nothing answers at all, each way is given five seconds and not a second try", async () => {
  const { opened } = world({ slug: "swallowed" });
  // Earlier tests' streams go on beside it.
  const own = () => opened.filter(({ address }) => address.pathname.includes("/swallowed"));

  await eventually(() => own().length === 3, 13_000);

  equal(
    own().map(({ kind = "socket" }) => kind),
    ["socket", "events", "poll"],
  );
});

test("where a socket has opened before, a server that is away for a while gets sockets again", async () => {
  const { opened, last, next } = world();
  last().say(welcome());
  for (let tries = 1; tries < 6; tries++) {
    last().drop();
    await next(tries + 1);
  }

  equal(opened.map(({ kind = "socket" }) => kind).includes("events"), false);
});

test("a cursor that isn't honoured is said, and the page's new one is gone on from", async () => {
  const { stream, last, next, said } = world();

  last().say(welcome({ resumed: false, cursor: "f.2.x", offset: 2 }));
  equal(said("afresh").length, 1);
  stream.go("f.3.y", 3);
  await next(2);
  last().say(welcome({ cursor: "f.3.y", offset: 3 }), entry(4));

  equal(last().after, "f.3.y");
  equal(said("entry").length, 1);
});

test("a log that is never honoured isn't asked for in a tight circle", async () => {
  const { stream, last, next, said } = world();
  last().say(welcome({ resumed: false }));
  stream.go("f.1.x", 1);
  await next(2);
  last().say(welcome({ resumed: false }));

  Math.random = () => 1;
  stream.go("f.1.x", 1);

  assert(said("link").at(-1).seconds > 0.5, "it comes back at once");
});

test("tries grow apart as long as no connection lasts", async () => {
  const { last, next, said } = world();
  Math.random = () => 0.01;
  for (let tries = 1; tries < 5; tries++) {
    last().say(welcome());
    last().drop(4001);
    await next(tries + 1);
  }

  const waits = said("link").filter(({ seconds }) => seconds).map(({ seconds }) => Math.round(seconds * 1000));
  equal(waits, [105, 110, 120, 140]);
});

for (const [slug, name, happen] of [
  ["online", "the network is back", () => dispatchEvent(new Event("online"))],
  ["shown", "the page comes out of the browser's cache", () => dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }))],
  ["seen", "the page is looked at again", () => document.dispatchEvent(new Event("visibilitychange"))],
]) {
  test(`it tries at once when ${name}`, () => {
    const { last, opened } = world({ slug });
    Math.random = () => 1;
    last().drop();

    happen();

    // Earlier tests' streams hear it too.
    equal(opened.filter(({ address }) => address?.pathname === `/${slug}/live`).length, 2);
  });
}

test("without a socket a page out of sight holds no connection, and goes on where it was", async () => {
  const { opened, offsets } = world({ slug: "hidden" });
  // Earlier tests' streams hear it too.
  const own = () => opened.filter(({ address }) => address?.pathname === "/hidden/live");
  const last = () => own().at(-1);
  for (const tries of [2, 3]) {
    last().drop();
    await eventually(() => own().length === tries);
  }
  last().say(welcome(), entry(6));
  equal(last().kind, "events");

  look(true);
  assert(last().isClosed, "it is still connected");
  look(false);

  equal([own().length, last().kind, last().after], [4, "events", "e.6.t"]);
  last().say(welcome(), entry(7));
  equal(offsets(), [6, 7]);
});

test("a socket stays open out of sight", () => {
  const { last } = world({ slug: "hidden-socket" });
  last().say(welcome());

  look(true);
  assert(!last().isClosed, "it was closed");
  look(false);
});

test("a welcome says since when nothing had been heard", async () => {
  const { last, next, said } = world();
  last().say(welcome());
  const heard = Date.now();
  last().drop();
  await next(2);

  last().say(welcome());

  assert(Math.abs(said("welcome").at(-1).since - heard) < 50, "since is another moment");
});

test("unknown frames are let pass", () => {
  const { last, offsets } = world();

  last().say(welcome(), { type: "weather", sky: "blue" }, entry(6));

  equal(offsets(), [6]);
});

test("the globals are put back", () => {
  delete document.hidden;
  window.WebSocket = SOCKET;
  Math.random = random;
});
