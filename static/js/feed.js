/** The feed's page: the stream into the timeline, and how it stands. */

import { Moments } from "./moments.js";
import { Status } from "./status.js";
import { Stream } from "./stream.js";
import { AT_TOP_PX, Timeline } from "./timeline.js";
import { clockIn, keepTimes, now } from "./times.js";

const QUIET_MS = 10 * 60_000;
const AWAY_MS = 60_000;
const SAID_EVERY_MS = 10_000;
// A connection that is back at once was never missed.
const GRACE_MS = 1500;
const FETCH_MS = 15_000;

const main = document.querySelector("#main");
const list = document.querySelector("#posts");

/** A page's articles, each with its place in the log. */
function articlesOf(page) {
  const found = page.querySelector("#posts");
  const positions = JSON.parse(found.dataset.positions);
  const articles = [...found.children];
  for (const article of articles) article.dataset.before = positions[article.dataset.id];
  return articles;
}

articlesOf(document);
const frame = document.querySelector("#frame");
const part = (name) => document.querySelector(`[data-part="${name}"]`);
const clock = clockIn(main.dataset.zone);
const posts = (count, word = "post") => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

const status = new Status(part("status"));
// A page of older posts follows edits and removals; what is new waits for the first page.
const isHead = main.dataset.head === "yes";
const timeline = new Timeline(list, { mayInsert: () => isHead && scrollY < AT_TOP_PX });
const moments = new Moments(document.querySelector("#moments"), document.querySelector("#moment"));
const stream = new Stream({
  slug: main.dataset.slug,
  cursor: main.dataset.cursor,
  offset: Number(main.dataset.offset),
});

const atLoad = { ...part("status").dataset, state: main.dataset.state };
let { state } = atLoad;
let link = { state: "connecting" };
let partedAt = Date.now();
let triesAt = 0;
let viewers = Number(atLoad.viewers) || 1;
let unsaid = 0;
let saidAt = 0;
let saying = null;
let isMissed = false;
let wasMissed = false;

// -- how it stands

const notice = {
  element: part("notice"),
  usual: [part("notice-title").textContent, part("notice-text").textContent],
  say(title, text, className = "notice") {
    timeline.inPlace(() => {
      this.element.className = className;
      part("notice-title").textContent = title;
      part("notice-text").textContent = text;
      this.element.hidden = false;
    });
  },
  hide() {
    if (!this.element.hidden) timeline.inPlace(() => (this.element.hidden = true));
  },
};

const BY_STATE = {
  live: ["Nothing yet. You are early.", ""],
  paused: ["The desk is having tea.", ""],
  ended: ["That was it.", "Thank you. Everything stays here to read."],
  upcoming: ["Not begun yet.", ""],
};

function show() {
  const isParted = link.state !== "open";
  const isConnecting = link.state === "connecting";
  const isLate = Date.now() - partedAt > GRACE_MS;
  isMissed = isParted && !isConnecting && (link.state !== "waiting" || isLate);
  frame.classList.toggle("is-parted", isParted && (isLate || !isConnecting));
  frame.classList.toggle("is-over", state === "ended");
  main.dataset.state = state;
  part("retry").hidden = !isMissed || link.state === "closed";
  if (isMissed !== wasMissed) announce();
  showHeld();
  const heard = clock(stream.heardAt);
  if (link.state === "closed") {
    status.show("closed", "this blog is gone");
    notice.say("This blog is gone.", "What you have read so far stays here until you leave.");
  } else if (link.state === "offline") {
    status.show("offline", `last heard at ${heard}`);
    notice.say("This device has no network.", `You have every post up to ${heard}. We try again by ourselves.`);
  } else if (isConnecting) {
    if (isLate) status.show("connecting", `as of ${heard}`);
  } else if (isParted) {
    status.show("reconnecting", `last heard at ${heard}`);
    if (isMissed) notice.say(`You have every post up to ${heard}.`, `There is no connection just now. What comes meanwhile will be put in here, in order. ${nextTry()}`);
  } else {
    status.show(state, detail());
    showState();
  }
}

/** What is to be said of the event while the connection stands. */
function showState() {
  const isBare = !timeline.newest;
  if (state === "live" && !isBare) return notice.hide();
  const [title, text] = state === atLoad.state ? notice.usual : BY_STATE[state];
  let more = "";
  if (state === "paused") more = "Still connected. Posts go on here by themselves.";
  else if (state !== "ended" && isBare && isHead) more = "The first post will appear here by itself.";
  notice.say(title, `${text} ${more}`.trim(), state === "live" ? "notice notice--quiet notice--short" : "notice");
}

function nextTry() {
  const seconds = Math.ceil((triesAt - Date.now()) / 1000);
  return seconds > 1 ? `Next try in ${seconds} seconds.` : "Trying now.";
}

function detail() {
  const reading = `${viewers.toLocaleString("en")} reading`;
  if (state !== "live") return state === atLoad.state && atLoad.when ? `${atLoad.when}, ${reading}` : reading;
  const newest = isHead && Date.parse(timeline.newest?.querySelector("time").dateTime);
  return now() - newest > QUIET_MS && newest ? `${reading}, quiet since ${clock(newest)}` : reading;
}

// -- what arrives

stream.addEventListener("link", ({ detail: next }) => {
  if (link.state === "open" && next.state !== "open") partedAt = Date.now();
  if (next.seconds) triesAt = Date.now() + next.seconds * 1000;
  link = next;
  show();
});

setInterval(() => link.state !== "open" && show(), 1000);

stream.addEventListener("viewers", ({ detail: { count } }) => {
  viewers = count;
  show();
});

let away = null;

stream.addEventListener("welcome", ({ detail: welcome }) => {
  if (welcome.state) state = welcome.state;
  if (welcome.viewers) viewers = welcome.viewers;
  const isBehind = welcome.offset > stream.offset;
  const wasAway = isHead && isBehind && now() - welcome.since > AWAY_MS;
  away = wasAway ? { until: welcome.offset, since: welcome.since, count: 0, first: null } : null;
  show();
});

stream.addEventListener("entry", ({ detail: entry }) => {
  if (entry.action === "blog") {
    state = entry.blog.state;
    part("title").textContent = document.title = entry.blog.title;
  } else {
    const isWhole = list.lastElementChild?.dataset.id === oldest;
    const article = timeline.apply(entry);
    if (isWhole && !article) {
      oldest = list.lastElementChild?.dataset.id;
      goOn();
    }
    if (article) moments.put(article);
    else moments.remove(entry.id);
    if (article && entry.action === "publish") arrived(article);
  }
  if (away && entry.offset >= away.until) caughtUp();
  show();
});

function arrived(article) {
  unsaid += 1;
  announce();
  if (!away) return;
  away.count += 1;
  away.first ??= article;
}

function caughtUp() {
  const { count, since, first: oldest } = away;
  away = null;
  if (!count) return;
  const bar = document.querySelector("#caught-up").content.firstElementChild.cloneNode(true);
  bar.querySelector("span").textContent = `${posts(count)} came while you were away`;
  const from = bar.querySelector("a");
  from.textContent = `From ${clock(since)}`;
  from.href = `#${oldest.id}`;
  from.addEventListener("click", () => timeline.release());
  timeline.inPlace(() => {
    document.querySelector(".caught-up")?.remove();
    list.before(bar);
  });
}

stream.addEventListener("afresh", async () => {
  try {
    const page = await fetched(location.pathname + location.search);
    const found = page.querySelector("#main").dataset;
    ({ state } = found);
    timeline.replaceAll(articlesOf(page));
    moments.replaceAll(page.querySelectorAll("[data-part=moments] > li"));
    older(page);
    stream.go(found.cursor, Number(found.offset));
  } catch {
    setTimeout(() => stream.retry(), 2000 + Math.random() * 3000);
  }
});

async function fetched(address) {
  const answer = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(FETCH_MS) });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// -- the pill, and what a screen reader is told

timeline.addEventListener("held", showHeld);

function showHeld() {
  part("pill").hidden = !timeline.held || !part("retry").hidden;
  part("pill-text").textContent = posts(timeline.held, "new post");
}

part("pill").addEventListener("click", () => {
  if (!isHead) return location.assign(`/${main.dataset.slug}`);
  // At once: on a slow way up, what comes meanwhile would wait, and stop it.
  scrollTo({ top: 0, behavior: "instant" });
  timeline.release();
  list.firstElementChild?.focus({ preventScroll: true });
});
part("retry").addEventListener("click", () => stream.retry());
addEventListener("scroll", () => isHead && timeline.held && scrollY < AT_TOP_PX && timeline.release(), { passive: true });

function announce() {
  saying ??= setTimeout(() => {
    const words = [];
    if (wasMissed !== isMissed) words.push(isMissed ? "Connection lost." : "Connected again.");
    if (unsaid) words.push(posts(unsaid, "new post"));
    if (words.length) part("said").textContent = words.join(" ");
    wasMissed = isMissed;
    saidAt = Date.now();
    saying = null;
    unsaid = 0;
  }, saidAt + SAID_EVERY_MS - Date.now());
}

// -- key moments

timeline.addEventListener("change", () => {
  // A feed without an article is none.
  list.setAttribute("role", list.children.length ? "feed" : "group");
  tick();
  part("to-moments").hidden = moments.isEmpty;
  goOn();
});

part("moments").addEventListener("click", (event) => {
  const id = event.target.closest("li")?.dataset.id;
  if (isHead && id && timeline.holds(id)) timeline.release();
  const article = id && timeline.find(id);
  if (!article) return; // Not loaded: its own page.
  event.preventDefault();
  article.scrollIntoView({ block: "start" });
  article.querySelector("a").focus({ preventScroll: true });
});

// -- older posts

let oldest = list.lastElementChild?.dataset.id;
let hasOlder = !part("older").hidden;

function older(page) {
  const link = page.querySelector("[data-part=older]");
  oldest = list.lastElementChild?.dataset.id;
  hasOlder = Boolean(link && !link.hidden);
  goOn();
}

/** Older posts go on from the last that is here. */
function goOn() {
  const last = list.lastElementChild;
  // A page that began empty: the first to come is the oldest.
  if (!hasOlder) oldest = last && (oldest ?? last.dataset.id);
  const isCut = last && oldest && last.dataset.id !== oldest;
  part("older").hidden = !hasOlder && !isCut;
  if (last?.dataset.before) {
    part("older").querySelector("a").href = `/${main.dataset.slug}?before=${last.dataset.before}`;
  }
}

part("older").addEventListener("click", async (event) => {
  const anchor = event.target.closest("a");
  if (!anchor || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  list.ariaBusy = "true";
  anchor.textContent = "Loading…";
  try {
    const page = await fetched(anchor.href);
    const last = list.lastElementChild;
    timeline.append(articlesOf(page));
    (last?.nextElementSibling ?? last)?.focus({ preventScroll: true });
    older(page);
    anchor.textContent = "Older posts";
  } catch {
    anchor.textContent = "Not loaded. Try again";
  } finally {
    list.ariaBusy = "false";
  }
});

// -- times

const tick = keepTimes(main.dataset.zone, (at) => {
  const countdown = part("countdown");
  if (countdown) {
    const left = Math.max(0, Math.ceil((Date.parse(main.dataset.starts) - at) / 60_000));
    countdown.hidden = left === 0 || state !== "upcoming";
    [Math.floor(left / 1440), Math.floor(left / 60) % 24, left % 60].forEach((value, place) => {
      countdown.querySelectorAll("b")[place].textContent = place ? String(value).padStart(2, "0") : value;
    });
  }
  show();
});

stream.start();
