/** The thread of own items above the editor: what each is, where it stands, and what can be done. */

import { draw } from "./icon.js";
import { clockIn } from "./times.js";
import { lineOf } from "./words.js";

const KEPT = "Your text is kept here.";

const STATES = {
  live: ["check", "Live"],
  queued: ["queued", "Queued"],
  sending: ["sending", "Sending"],
  failing: ["notsent", "Not sent"],
  stopped: ["notsent", "Not sent"],
  held: ["queued", "Set aside"],
};

const WAYS = {
  failing: ["retry", "edit", "copy"],
  held: ["edit", "copy", "discard"],
  taking: ["back"],
  "signed-out": ["join", "retry", "copy"],
  refused: ["edit", "copy", "discard"],
  reused: ["edit", "copy", "discard"],
  gone: ["edit", "copy", "discard"],
  changed: ["overwrite", "theirs", "copy"],
};

const LABELS = {
  retry: "Try again",
  back: "Try again",
  edit: "Edit",
  copy: "Copy",
  discard: "Discard",
  overwrite: "Overwrite",
  theirs: "Load theirs",
  join: "Join again",
  sure: "Discard for good",
  keep: "Keep",
};

/** A row of the thread out of an item of the outbox, in the state that the outbox says. */
export function rowOf(item, state, { isStuck = false, person = item.person } = {}) {
  const { key, at, words, trouble, post, taking } = item;
  const row = { id: key, at, kind: words.kind, line: lineOf(words), state, isChange: Boolean(post) };
  if (taking && item.person === person) {
    return { ...row, state: "live", why: "Not taken back yet, still live.", ways: WAYS.taking };
  }
  if (state === "held") return { ...row, why: whyHeld(item, person), ways: WAYS.held };
  if (state === "failing") {
    return { ...row, why: `${trouble.why} ${KEPT} We try again by ourselves.`, ways: WAYS.failing };
  }
  if (state === "stopped") {
    return { ...row, why: `${trouble.why} ${KEPT}`, ways: WAYS[trouble.kind] };
  }
  // While all goes well, a row that lives for a second needs no buttons.
  return { ...row, why: "", ways: state === "queued" && isStuck ? ["edit"] : [] };
}

function whyHeld({ person, name, tried, taking }, me) {
  if (person === me) return "Not posted. It is kept on this phone.";
  if (taking) return `${name} was taking it back: see the feed first.`;
  return tried
    ? `Left on this phone by ${name}. It may have arrived: see the feed first.`
    : `Left on this phone by ${name}, not posted.`;
}

/** Shows rows in a list, oldest first, and says `way` (detail: id, way) when a button is pressed. */
export class Thread extends EventTarget {
  #list;
  #template;
  #clock;
  #shown = new Map();
  #sure = null;
  #isAtEnd = true;
  #rows = [];

  constructor(list, template, zone) {
    super();
    this.#list = list;
    this.#template = template;
    this.#clock = clockIn(zone);
    list.addEventListener("click", (event) => this.#pressed(event));
    list.addEventListener("scroll", () => {
      this.#isAtEnd = list.scrollTop + list.clientHeight > list.scrollHeight - 24;
    });
    // The keyboard, a bar, a longer text take room from above: the newest row stays in sight.
    new ResizeObserver(() => this.#isAtEnd && this.#toEnd()).observe(list);
    list.replaceChildren();
  }

  show(rows) {
    this.#rows = rows;
    const held = this.#list.contains(document.activeElement) ? document.activeElement : null;
    const wanted = new Set(rows.map(({ id }) => id));
    for (const [id, { element }] of this.#shown) {
      if (wanted.has(id)) continue;
      element.remove();
      this.#shown.delete(id);
    }
    rows.forEach((row, place) => {
      const element = this.#element(row);
      if (this.#list.children[place] !== element) {
        this.#list.insertBefore(element, this.#list.children[place] ?? null);
      }
    });
    if (held && !held.isConnected) this.dispatchEvent(new Event("lost"));
    if (this.#isAtEnd) this.#toEnd();
  }

  #toEnd() {
    this.#list.scrollTop = this.#list.scrollHeight;
  }

  #element(row) {
    const ways = this.#sure === row.id ? ["sure", "keep"] : row.ways;
    const print = JSON.stringify([row, ways]);
    const shown = this.#shown.get(row.id);
    if (shown?.print === print) return shown.element;
    const element = shown?.element ?? this.#template.content.firstElementChild.cloneNode(true);
    this.#shown.set(row.id, { element, print });
    this.#fill(element, row, ways);
    return element;
  }

  #fill(element, row, ways) {
    const part = (name) => element.querySelector(`[data-part="${name}"]`);
    const [icon, word] = STATES[row.state];
    element.dataset.id = row.id;
    element.dataset.state = row.state;
    part("time").dateTime = row.at;
    part("time").textContent = this.#clock(new Date(row.at));
    part("kind").toggleAttribute("hidden", row.kind === "update" || Boolean(row.isChange));
    draw(part("kind"), row.kind);
    part("change").hidden = !row.isChange;
    part("line").textContent = row.line;
    draw(part("icon"), icon);
    part("state").textContent = word;
    part("why").hidden = !row.why;
    part("why").textContent = row.why;
    part("ways").hidden = !ways.length;
    part("ways").replaceChildren(...ways.map((way) => this.#way(way, row)));
  }

  #way(way, row) {
    const element = document.createElement(way === "join" ? "a" : "button");
    element.className = "way";
    element.textContent = LABELS[way];
    if (way === "join") {
      element.href = "/join?why=ended";
      return element;
    }
    element.type = "button";
    element.dataset.way = way;
    element.setAttribute("aria-label", `${LABELS[way]}: ${row.line.slice(0, 40)}`);
    return element;
  }

  #pressed(event) {
    const way = event.target.closest("[data-way]")?.dataset.way;
    if (!way) return;
    const { id } = event.target.closest("[data-id]").dataset;
    // Words are let go only on a second press.
    const isAsking = way === "discard" || way === "keep";
    if (isAsking) document.activeElement.blur();
    this.#sure = way === "discard" ? id : null;
    this.show(this.#rows);
    if (isAsking) {
      this.#list.querySelector(`[data-id="${id}"] [data-way]`)?.focus();
    } else {
      this.dispatchEvent(new CustomEvent("way", { detail: { id, way: way === "sure" ? "discard" : way } }));
    }
  }
}
