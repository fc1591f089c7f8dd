/** The composer's page: the editor into the outbox, the outbox into the thread, the stream into the feed. */

import { Arrivals } from "./arrivals.js";
import { Courier } from "./courier.js";
import { Editor } from "./editor.js";
import { newKey } from "./exchange.js";
import { Outbox } from "./outbox.js";
import { OwnPosts } from "./own.js";
import { Retraction } from "./retraction.js";
import { Shelf } from "./shelf.js";
import { Standing } from "./standing.js";
import { Stream } from "./stream.js";
import { rowOf, Thread } from "./thread.js";
import { Timeline } from "./timeline.js";
import { keepTimes } from "./times.js";
import { Undo } from "./undo.js";
import { isSame, NOTHING, wordsOf } from "./words.js";

const ROWS_LIVE = 6;

const page = document.querySelector("#write");
const posts = document.querySelector("#posts");
const part = (name) => document.querySelector(`[data-part="${name}"]`);
const { slug, zone, cursor, offset } = page.dataset;
const person = { id: page.dataset.me, name: page.dataset.name };
const address = `/${slug}/write`;

const shelf = Shelf.of(slug);
const courier = new Courier(slug, person);
const editor = new Editor(document.querySelector("#composer"), shelf, person);
const outbox = new Outbox({ shelf, person, deliver: (item, note) => courier.deliver(item, note) });
const thread = new Thread(part("thread"), document.querySelector("#item"), zone);
const own = new OwnPosts(posts, person.id, document.querySelector("#own"));
const timeline = new Timeline(posts);
const stream = new Stream({ slug, cursor, offset: Number(offset) });
const standing = new Standing(part("status"), page.dataset.state);
const undo = new Undo(part("undo"));
const retraction = new Retraction({ outbox, courier, person });
const sent = new Map();
const arrivals = new Arrivals();

// -- from the editor into the outbox

editor.addEventListener("post", async () => {
  undo.close();
  const item = { ...editor.item, at: editor.item.at ?? new Date().toISOString() };
  if (outbox.add(item)) {
    // Only now: the words stand in the outbox.
    editor.clear();
    editor.focus();
    return;
  }
  editor.hold(true);
  say("Sending");
  const outcome = await outbox.carry(item);
  editor.hold(false);
  if (outcome.kind === "done") {
    editor.clear();
  } else {
    // These words may have arrived; should they be changed now, the courier must know of them.
    editor.open({ ...item, earlier: [...(item.earlier ?? []), item.words] });
    editor.complain(`Not sent. ${outcome.why} Your text stays in the editor.`);
  }
});

editor.addEventListener("cancel", () => {
  if (makeRoom()) editor.clear();
  editor.focus();
});

editor.addEventListener("remove", async () => {
  const { post } = editor.item;
  const outcome = await courier.remove(post);
  if (outcome.kind !== "done") return editor.complain(`Not removed. ${outcome.why}`);
  gone(post);
  if (editor.item.post === post) editor.clear();
  editor.focus();
  say("Removed.");
});

/** Set aside what stands in the editor, so that something else can go in. False: it must stay. */
function makeRoom() {
  if (!isTouched() || outbox.add({ ...editor.item, held: true })) return true;
  editor.complain("This phone can't set your text aside. Post it or clear it first.");
  return false;
}

function isTouched() {
  const { post, words, base } = editor.item;
  return post ? !isSame(words, base ?? NOTHING) : !editor.isEmpty;
}

function open(item) {
  if (!makeRoom()) return false;
  editor.open(item);
  part("back").hidden = true;
  scrollTo({ top: 0, behavior: "instant" });
  return true;
}

// -- from the outbox into the thread

outbox.addEventListener("change", show);
own.addEventListener("change", show);

outbox.addEventListener("sent", ({ detail: { item, post } }) => {
  arrivals.know(post.id);
  const at = post.edited_at ?? post.published_at;
  sent.set(post.id, { id: post.id, at, kind: post.kind, line: item.words.headline || item.words.body });
  if (item.post) {
    say("Saved.");
  } else {
    say("Your post is live.");
    const { id } = post;
    offered = id;
    const over = () => retraction.leave(id);
    undo.offer("Your post is live.", () => takeBack(id, item.words), over);
  }
});

const said = new Map();
let offered = null;

function show() {
  const items = outbox.items;
  const isStuck = outbox.isFailing || outbox.isSignedOut || !navigator.onLine;
  const waiting = items.map((item) =>
    rowOf(item, outbox.stateOf(item), { isStuck, person: person.id }),
  );
  const shown = arrivals.settled(own.recent(ROWS_LIVE), items.find(isOnItsWay)?.at);
  const known = new Set(shown.map(({ id }) => id));
  const fresh = [...sent.values()].filter(({ id }) => !known.has(id) && !timeline.find(id));
  const taking = new Set(items.map((item) => item.taking));
  const live = [...shown, ...fresh]
    .filter(({ id }) => !taking.has(id))
    .sort((one, other) => one.at.localeCompare(other.at))
    .slice(-ROWS_LIVE)
    .map((row) => ({ ...row, state: "live", why: "", ways: [] }));
  thread.show([...live, ...waiting]);
  for (const { id, state, why } of waiting) {
    if (said.get(id) !== state && ["failing", "stopped"].includes(state)) say(`Not sent. ${why}`);
    said.set(id, state);
  }
  standing.show({
    waiting: outbox.waiting,
    isFailing: outbox.isFailing,
    isSignedOut: outbox.isSignedOut,
  });
}

/** Whether a new post was sent whose answer isn't here: the feed may have it by now. */
function isOnItsWay(item) {
  return item.tried && !item.post && ["sending", "queued", "failing"].includes(outbox.stateOf(item));
}

thread.addEventListener("lost", () => editor.focus());

thread.addEventListener("way", async ({ detail: { id, way } }) => {
  const item = outbox.items.find(({ key }) => key === id);
  if (!item) return;
  if (way === "retry") {
    outbox.retry(id);
  } else if (way === "back") {
    const why = await takeBack(item.taking, item.words);
    if (why) say(why);
    retraction.leave(item.taking);
  } else if (way === "copy") {
    say((await copied(item.words)) ? "Copied." : "Not copied: the browser doesn't allow it.");
  } else if (way === "discard") {
    outbox.take(id);
    say("Discarded.");
  } else if (way === "edit") {
    if (makeRoom()) edit(outbox.take(id));
  } else if (way === "overwrite") {
    outbox.update(id, { revision: item.trouble.theirs.revision });
    outbox.retry(id);
  } else if (way === "theirs") {
    const { theirs } = item.trouble;
    outbox.update(id, { held: true, trouble: null, revision: theirs.revision });
    open({ key: newKey(), post: item.post, ...theirs, base: theirs.words });
  }
});

/** Put an unsent item back into the editor. */
function edit(item) {
  if (!item) return;
  const { key, at, words, earlier, post, revision, base, trouble, tried } = item;
  const isNew = item.person !== person.id || ["gone", "reused"].includes(trouble?.kind);
  // It may have arrived: what is sent now goes under the same key, and the courier compares.
  const tries = tried && !post ? [...earlier, words] : earlier;
  const known = { key, words, earlier: tries, at: tries.length ? at : undefined, post, revision, base };
  editor.open(isNew ? { key: newKey(), words } : known);
  scrollTo({ top: 0, behavior: "instant" });
}

async function copied({ headline, body }) {
  const text = headline ? `${headline}\n\n${body}` : body;
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain http has no clipboard; the old command still works there.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    return isDone;
  }
}

// -- own posts: undo, edit, remove

/** Take a post back into the editor. Null when it is done, else why not. */
async function takeBack(id, words) {
  const { item, why } = await retraction.take(id, words, !isTouched());
  if (!item) return `Not taken back yet, still live. ${why}`;
  gone(id);
  // Where there is no room in the editor, the words stay set aside.
  if (!makeRoom()) return null;
  if (item.key) outbox.take(item.key);
  editor.open({ key: item.key ?? newKey(), words: item.words });
  scrollTo({ top: 0, behavior: "instant" });
  say("Taken back. The text is in the editor again.");
  return null;
}

function forget(id) {
  sent.delete(id);
  if (offered === id) undo.close();
}

function gone(id) {
  forget(id);
  timeline.apply({ action: "retract", id });
  show();
}

own.addEventListener("remove", async ({ detail: { id, say: tell } }) => {
  tell("Removing");
  const outcome = await courier.remove(id);
  if (outcome.kind !== "done") return tell(`Not removed. ${outcome.why}`);
  gone(id);
  say("Removed.");
});

own.addEventListener("edit", async ({ detail: { id, say: tell } }) => {
  tell("Loading");
  const { kind, why, post } = await courier.load(id);
  tell(kind === "done" ? "" : `Not loaded. ${why}`);
  if (kind !== "done") return;
  const words = wordsOf(post);
  open({ key: newKey(), post: id, revision: post.revision, words, base: words });
});

// -- the feed under it

stream.addEventListener("link", ({ detail: { state } }) => {
  standing.show({ link: state });
  // The stream came through, so a post may as well.
  if (state === "open" && outbox.isFailing) outbox.kick();
  if (state === "open") retraction.settle();
});
stream.addEventListener("welcome", ({ detail: { state, viewers } }) => standing.show({ state, viewers }));
stream.addEventListener("viewers", ({ detail: { count } }) => standing.show({ viewers: count }));
stream.addEventListener("entry", ({ detail: entry }) => {
  if (entry.action === "blog") standing.show({ state: entry.blog.state });
  // What comes through may be the very post whose answer was lost.
  if (outbox.isFailing) outbox.kick();
  if (entry.action === "retract") {
    retraction.gone(entry.id);
    forget(entry.id);
  }
  timeline.apply(entry);
});
stream.addEventListener("afresh", async () => {
  try {
    const answer = await fetch(address, { cache: "no-store" });
    if (!answer.ok || answer.redirected) throw new Error(`status ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const { cursor, offset } = fresh.querySelector("#write").dataset;
    timeline.replaceAll(fresh.querySelectorAll("#posts > article"));
    stream.go(cursor, Number(offset));
  } catch {
    setTimeout(() => stream.retry(), 2000 + Math.random() * 3000);
  }
});
timeline.addEventListener("change", () => {
  tick();
  show();
});
const tick = keepTimes(zone);

// -- the phone around it

const back = part("back");
back.addEventListener("click", () => {
  scrollTo({ top: 0, behavior: "instant" });
  editor.focus();
});
new IntersectionObserver(([{ isIntersecting }]) => {
  back.hidden = isIntersecting;
}).observe(document.querySelector("#composer"));

// While somebody types, the keyboard takes the room that the feed would peep through. It is given
// back late: a button that moves between press and release would miss its click.
let typing = null;
document.querySelector("#composer").addEventListener("focusin", ({ target }) => {
  if (!target.matches("textarea, input[type=text]")) return;
  clearTimeout(typing);
  page.classList.add("is-typing");
});
document.querySelector("#composer").addEventListener("focusout", () => {
  clearTimeout(typing);
  typing = setTimeout(() => page.classList.remove("is-typing"), 400);
});

// Safari lays the keyboard over the page instead of shrinking it; the composer then fits what is left.
visualViewport?.addEventListener("resize", () => {
  if (visualViewport.scale > 1.01) return;
  const isCovered = innerHeight - visualViewport.height > 80;
  const root = document.documentElement.style;
  if (isCovered) root.setProperty("--screen", `${visualViewport.height}px`);
  else root.removeProperty("--screen");
  if (isCovered && document.querySelector("#composer").contains(document.activeElement)) {
    scrollTo({ top: 0, behavior: "instant" });
  }
});

// The words stay on this phone, under the name of who wrote them; the form takes none of them along.
const leave = part("leave");
leave.addEventListener("click", (event) => {
  event.preventDefault();
  const unsent = outbox.waiting + Number(isTouched());
  if (unsent && !("sure" in leave.dataset)) {
    leave.dataset.sure = "";
    leave.textContent = `Sign out, ${unsent} unsent ${unsent === 1 ? "stays" : "stay"} here`;
    return;
  }
  const form = document.createElement("form");
  form.method = "post";
  form.action = leave.formAction;
  form.append(Object.assign(document.createElement("input"), { type: "hidden", name: "leave", value: leave.value }));
  document.body.append(form);
  form.submit();
});

addEventListener("online", () => {
  outbox.wake();
  retraction.settle();
});
addEventListener("offline", show);
// Only where the phone keeps nothing does the text go with the page.
addEventListener("beforeunload", (event) => editor.isUnkept && event.preventDefault());
document.addEventListener("visibilitychange", () => document.hidden || outbox.wake());

function say(text) {
  part("said").textContent = text;
}

// What somebody else left in the editor of this phone is shown, never posted by itself.
for (const name of shelf.names("draft:")) {
  const left = shelf.get(name);
  const id = name.slice("draft:".length);
  if (id !== person.id && left?.words && outbox.hold(left, { id, name: left.name })) shelf.drop(name);
}
// A page that died between the two steps of posting leaves the words in both places.
if (outbox.items.some(({ key }) => key === editor.item.key)) editor.clear();
// What the address asked for is in the editor; a reload must not ask for it again.
if (location.pathname === address) history.replaceState(null, "", address);
const { served, item: draft } = editor;
if (served && (served.post !== draft.post || !isSame(served.words, draft.words))) open(served);
// Right after joining this page is the answer to a form, which a reload would send again.
if (location.pathname !== address && !editor.isUnkept) location.replace(address);

show();
outbox.wake();
stream.start();
