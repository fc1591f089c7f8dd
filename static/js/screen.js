/** The hall's screen: the newest post as large as it fits, nothing half shown, awake for days. */

import { Status } from "./status.js";
import { Stream } from "./stream.js";
import { Timeline } from "./timeline.js";
import { clockIn, keepTimes } from "./times.js";

const POSTS_MOST = 8;
const STRIP_MS = 5 * 60_000;
const FITS = [1, 0.86, 0.74, 0.64, 0.55, 0.47, 0.4];

const screen = document.querySelector("#screen");
const list = document.querySelector("#posts");
const part = (name) => document.querySelector(`[data-part="${name}"]`);
const { slug, zone, cursor, offset } = screen.dataset;
const clock = clockIn(zone);
const status = new Status(part("status"));
const timeline = new Timeline(list, { most: POSTS_MOST });
const stream = new Stream({ slug, cursor, offset: Number(offset), stubborn: true });

let { state } = screen.dataset;
let viewers = Number.parseInt(part("detail").textContent, 10) || 1;
let link = { state: "open" };

/** Step the newest post down until it fits whole, then show as many earlier ones as fit whole. */
function fit() {
  const articles = [...list.children];
  const isEmpty = !articles.length;
  screen.classList.toggle("is-empty", isEmpty);
  part("empty").hidden = !isEmpty;
  if (isEmpty) return;
  const room = document.querySelector("#main").getBoundingClientRect().bottom;
  for (const article of articles) article.classList.remove("is-lead", "is-last", "does-not-fit");
  const [lead] = articles;
  lead.classList.add("is-lead");
  for (const size of FITS) {
    lead.style.setProperty("--fit", size);
    if (lead.getBoundingClientRect().bottom <= room) break;
  }
  let last = lead;
  let isFull = false;
  for (const article of articles.slice(1)) {
    isFull ||= article.getBoundingClientRect().bottom > room;
    article.classList.toggle("does-not-fit", isFull);
    if (!isFull) last = article;
  }
  last.classList.add("is-last");
}

function strip() {
  const newest = list.querySelector(".post--announcement");
  const at = newest && Date.parse(newest.querySelector("time").dateTime);
  // The newest post is large already; an announcement that others have pushed down stays in sight.
  const isDue = newest && Date.now() - at < STRIP_MS && newest !== list.firstElementChild;
  part("strip").hidden = !isDue;
  if (isDue) {
    part("strip-time").textContent = clock(at);
    const text = newest.querySelector(".post__headline, .post__body").textContent.trim();
    part("strip-text").textContent = text.length > 120 ? `${text.slice(0, 118)}…` : text;
  }
}

function show() {
  const isOpen = link.state === "open";
  screen.classList.toggle("is-parted", !isOpen);
  if (isOpen) status.show(state, state === "live" ? `${viewers.toLocaleString("en")} reading` : "");
  else status.show("reconnecting", `as of ${clock(stream.heardAt || Date.now())}`);
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
    const answer = await fetch(`/${slug}/screen`, { headers: { accept: "text/html" }, cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const now = page.querySelector("#screen").dataset;
    state = now.state;
    timeline.replaceAll(page.querySelectorAll("#posts > article"));
    stream.go(now.cursor, Number(now.offset));
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
stream.start();
