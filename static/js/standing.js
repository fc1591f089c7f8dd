/** The header's line: how the connection and what waits on the phone stand, in a word, an icon and a detail. */

import { draw } from "./icon.js";

const WORDS = {
  live: "Live",
  upcoming: "Not begun",
  paused: "Paused",
  ended: "Ended",
  weak: "Weak network",
  offline: "Offline",
  "signed-out": "Signed out",
  closed: "Closed",
};

const ICONS = { weak: "notsent", "signed-out": "notsent", closed: "offline" };

/** What to say: `{name, detail, isBusy}`. `isBusy` where the detail needs the whole line. */
export function standingOf({ link, state, viewers, waiting, isFailing, isSignedOut, isOnline }) {
  const kept = waiting ? `${waiting} waiting, safe on this phone` : "";
  const say = (name, detail) => ({ name, detail, isBusy: Boolean(detail) });
  if (isSignedOut) return say("signed-out", kept || "your text is kept here");
  if (!isOnline || link === "offline") return say("offline", kept || "write on, it is kept here");
  if (isFailing) return say("weak", kept);
  if (link === "waiting") return say("weak", kept || "reconnecting");
  if (link === "closed") return say("closed", kept);
  return { name: state, detail: viewers === null ? "" : `${viewers.toLocaleString("en")} reading`, isBusy: false };
}

export class Standing {
  #element;
  #known;

  constructor(element, state) {
    this.#element = element;
    this.#known = { link: "open", state, viewers: null, waiting: 0, isFailing: false, isSignedOut: false };
  }

  /** Show what is known, with `changes` to it. */
  show(changes) {
    for (const [name, value] of Object.entries(changes)) {
      if (value !== undefined) this.#known[name] = value;
    }
    const { name, detail, isBusy } = standingOf({ ...this.#known, isOnline: navigator.onLine });
    const element = this.#element;
    const part = (which) => element.querySelector(`[data-part=${which}]`);
    if (element.dataset.state !== name) {
      draw(element, ICONS[name] ?? name);
      part("word").textContent = WORDS[name];
      element.dataset.state = name;
    }
    element.toggleAttribute("data-busy", isBusy);
    if (part("detail").textContent !== detail) part("detail").textContent = detail;
  }
}
