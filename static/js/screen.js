/** The hall's screen: the newest post as large as it fits, nothing half shown, awake for days. */

import { Status } from "./status.js";
import { Stream } from "./stream.js";
import { Timeline } from "./timeline.js";
import { clockIn, keepTimes, now } from "./times.js";

const POSTS_MOST = 8;
const GRACE_MS = 1500;
const STRIP_MS = 5 * 60_000;
const FITS = [1, 0.92, 0.84, 0.76, 0.68, 0.6, 0.52, 0.46, 0.4];
const LARGE = 0.68;
const EARLIER = 2;

const screen = document.querySelector("#screen");
const list = document.querySelector("#posts");
const part = (name) => document.querySelector(`[data-part="${name}"]`);
const { slug, zone, cursor, offset } = screen.dataset;
const clock = clockIn(zone);
const status = new Status(part("status"));
const timeline = new Timeline(list, { most: POSTS_MOST });
const stream = new Stream({ slug, cursor, offset: Number(offset), stubborn: true });

const atLoad = { ...part("status").dataset, state: screen.dataset.state };
let { state } = atLoad;
let viewers = Number(atLoad.viewers) || 1;
let link = { state: "connecting" };
let isLate = false;

/** Show the newest post whole, as large as leaves room for earlier ones, and those as far as they fit. */
function fit() {
  const articles = [...list.children].filter((article) => !article.matches(".is-in-strip"));
  const isEmpty = !articles.length;
  screen.classList.toggle("is-empty", isEmpty);
  part("empty").hidden = !isEmpty;
  if (isEmpty) return;
  // Where the layout puts it: while an arriving post still moves, its box is drawn elsewhere.
  const room = document.querySelector("#main").clientHeight;
  const isWhole = (article) => bottomOf(article) <= room;
  for (const article of articles) article.classList.remove("is-lead", "is-last", "is-cut", "does-not-fit");
  const [lead, ...earlier] = articles;
  lead.classList.add("is-lead");
  // A smaller lead is worth it while it brings another whole post, and only so far.
  const wanted = Math.min(EARLIER, earlier.length);
  const sizes = FITS.map((size) => {
    lead.style.setProperty("--fit", size);
    return { size, isWhole: isWhole(lead), beside: earlier.slice(0, wanted).filter(isWhole).length };
  });
  const whole = sizes.filter((each) => each.isWhole);
  const large = whole.filter(({ size }) => size >= LARGE);
  const most = Math.max(...large.map(({ beside }) => beside));
  const best = large.find(({ beside }) => beside === most) ?? whole[0];
  lead.style.setProperty("--fit", best?.size ?? FITS.at(-1));
  if (!best) cut(lead, room);
  const shown = earlier.findIndex((article) => !isWhole(article));
  const last = shown < 0 ? articles.length : shown + 1;
  articles.forEach((article, place) => article.classList.toggle("does-not-fit", place >= last));
  articles[last - 1].classList.add("is-last");
}

/** Leave as many whole lines as there is room for, beside the word that there is more. */
function cut(lead, room) {
  lead.classList.add("is-cut");
  const body = lead.querySelector(".post__body");
  const line = Number.parseFloat(getComputedStyle(body).lineHeight);
  lead.style.setProperty("--lines", 1);
  const left = room - bottomOf(lead);
  lead.style.setProperty("--lines", 1 + Math.max(0, Math.floor(left / line)));
}

function bottomOf(article) {
  return article.offsetTop + article.offsetHeight;
}

function strip() {
  const newest = list.querySelector(".post--announcement");
  const at = newest && Date.parse(newest.querySelector("time").dateTime);
  // The newest post is large already; an announcement that others have pushed down stays in sight.
  const isDue = newest && now() - at < STRIP_MS && newest !== list.firstElementChild;
  part("strip").hidden = !isDue;
  for (const article of list.children) article.classList.toggle("is-in-strip", Boolean(isDue) && article === newest);
  if (isDue) {
    part("strip-time").textContent = clock(at);
    const text = newest.querySelector(".post__headline, .post__body").textContent.trim();
    part("strip-text").textContent = text.length > 120 ? `${text.slice(0, 118)}…` : text;
  }
}

function show() {
  const isOpen = link.state === "open";
  const isConnecting = link.state === "connecting";
  screen.classList.toggle("is-parted", !isOpen && (isLate || !isConnecting));
  const when = state === atLoad.state && state !== "live" && atLoad.when;
  const reading = `${viewers.toLocaleString("en")} reading`;
  if (isOpen) status.show(state, when ? `${when}, ${reading}` : reading);
  else if (isLate || !isConnecting) {
    status.show(isConnecting ? "connecting" : "reconnecting", `as of ${clock(stream.heardAt)}`);
  }
  strip();
  fit();
}

stream.addEventListener("link", ({ detail }) => {
  link = detail;
  show();
});
stream.addEventListener("welcome", ({ detail }) => {
  if (detail.state) state = detail.state;
  if (detail.viewers) viewers = detail.viewers;
  show();
});
stream.addEventListener("viewers", ({ detail }) => {
  viewers = detail.count;
  show();
});
stream.addEventListener("entry", ({ detail: entry }) => {
  if (entry.action === "blog") {
    state = entry.blog.state;
    part("title").textContent = entry.blog.title;
  } else timeline.apply(entry);
  show();
  if (entry.action === "retract" && list.children.length < 3) refill();
});
stream.addEventListener("afresh", refill);

/** Take the page's posts anew: after another log, or when removals have left the screen bare. */
async function refill(event) {
  try {
    const answer = await fetch(`/${slug}/screen`, {
      headers: { accept: "text/html" },
      cache: "no-store",
      signal: AbortSignal.timeout(15_000),
    });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = page.querySelector("#screen").dataset;
    state = found.state;
    timeline.replaceAll(page.querySelectorAll("#posts > article"));
    stream.go(found.cursor, Number(found.offset));
    show();
  } catch {
    if (event?.type === "afresh") setTimeout(() => stream.retry(), 2000 + Math.random() * 3000);
  }
}

/** A projector must not sleep; the lock ends whenever the page was hidden, so it is asked for again. */
async function stayAwake() {
  try {
    if (!document.hidden) await navigator.wakeLock?.request("screen");
  } catch {
    // A low battery may forbid it, and then the machine's own settings count.
  }
}

document.addEventListener("visibilitychange", stayAwake);
addEventListener("resize", fit);
document.fonts?.ready.then(fit);
stayAwake();
keepTimes(zone, show);
setTimeout(() => {
  isLate = true;
  show();
}, GRACE_MS);
stream.start();
