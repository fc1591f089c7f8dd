/** One post on a page of its own: edits and a removal reach it there too. */

import { Stream } from "./stream.js";
import { Timeline } from "./timeline.js";
import { keepTimes } from "./times.js";

const main = document.querySelector("#main");
const part = (name) => document.querySelector(`[data-part="${name}"]`);
const { id, slug, zone, cursor, offset } = main.dataset;
const timeline = new Timeline(document.querySelector("#posts"));
const stream = new Stream({ slug, cursor, offset: Number(offset) });

stream.addEventListener("entry", ({ detail: entry }) => {
  if (entry.id !== id) return;
  timeline.apply(entry);
  if (entry.action !== "retract") return tick();
  document.title = part("title").textContent;
  document.querySelector(".ways a[href*='/write']")?.remove();
  part("gone").hidden = false;
});

// Another log stands here now: whether it has this post, the server knows.
stream.addEventListener("afresh", () => setTimeout(() => location.reload(), 2000 + Math.random() * 3000));

const tick = keepTimes(zone);
stream.start();
