/** The live stream as one page sees it: it comes back with its cursor and loses nothing. */

import { delaySeconds, isFinal } from "./backoff.js";
import { judge } from "./cursor.js";
import { now, writtenAt } from "./times.js";

const TRANSPORTS = ["socket", "events", "poll"];
const MISSES_BEFORE_FALLBACK = 2;
// Where a socket has opened before, misses rather mean that the server is away.
const MISSES_ONCE_OPEN = 6;
const SILENCE = 1.5;
const PATIENCE_SECONDS = 15;
// Somebody waits for the first word: one way after another is tried.
const FIRST_PATIENCE_SECONDS = 5;
const STALE_MS = 40_000;
const STEADY_MS = 10_000;

/**
 * Says `welcome`, `entry`, `viewers` (detail: the frame, entries each once and in order; a welcome also
 * says `since`, when anything was last heard before it),
 * `link` (detail: {state: "open" | "waiting" | "offline" | "closed", seconds, code})
 * and `afresh` when the cursor can't be honoured: the page loads its posts anew and calls `go`.
 */
export class Stream extends EventTarget {
  #slug;
  #cursor;
  #offset;
  #isStubborn;
  #transport = 0;
  #misses = 0;
  #tries = 0;
  #end = null;
  #timer = null;
  #watchdog = null;
  #heardAt = writtenAt;
  #openedAt = 0;
  #afreshAt = -Infinity;
  #patience = 25;
  #isOpen = false;
  #hasOpened = false;
  #isClosed = false;

  /** `stubborn`: a screen comes back even where it is told that it is of no use. */
  constructor({ slug, cursor, offset = null, stubborn = false }) {
    super();
    this.#slug = slug;
    this.#cursor = cursor;
    this.#offset = offset;
    this.#isStubborn = stubborn;
    addEventListener("online", () => this.retry());
    addEventListener("offline", () => this.#lost(null));
    addEventListener("pageshow", (event) => event.persisted && this.retry());
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) return this.#transport && this.#connect();
      // A phone that slept may hold a socket that is long dead.
      if (!this.#isOpen || now() - this.#heardAt > STALE_MS) this.retry();
    });
  }

  /** When the page last heard anything. */
  get heardAt() {
    return this.#heardAt;
  }

  /** Up to where the page holds the log. */
  get offset() {
    return this.#offset;
  }

  start() {
    this.#connect();
  }

  /** Go on from another cursor. */
  go(cursor, offset) {
    this.#cursor = cursor;
    this.#offset = offset;
    const isAgain = Date.now() - this.#afreshAt < STEADY_MS;
    this.#afreshAt = Date.now();
    // Not in a tight circle.
    if (isAgain) this.#comeBack();
    else this.#connect();
  }

  /** Try at once, whatever was planned. */
  retry() {
    if (this.#isClosed) return;
    this.#tries = 0;
    this.#connect();
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#drop();
    // Of these a browser opens six: pages in sight need them.
    if (this.#transport && document.hidden) return;
    const begun = { socket: () => this.#socket(), events: () => this.#events(), poll: () => this.#poll() };
    const isFirst = !this.#hasOpened && this.#tries < TRANSPORTS.length;
    this.#watch(isFirst ? FIRST_PATIENCE_SECONDS : PATIENCE_SECONDS);
    this.#end = begun[TRANSPORTS[this.#transport]]();
  }

  #socket() {
    const address = new URL(this.#address(`/${this.#slug}/live`), location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    socket.onmessage = ({ data }) => this.#heard(JSON.parse(data));
    socket.onclose = ({ code }) => this.#lost(code);
    return () => {
      socket.onmessage = socket.onclose = null;
      socket.close();
    };
  }

  #events() {
    const source = new EventSource(this.#address(`/${this.#slug}/live`));
    source.onmessage = ({ data }) => this.#heard(JSON.parse(data));
    source.onerror = () => this.#lost(null);
    return () => source.close();
  }

  #poll() {
    const controller = new AbortController();
    this.#polling(controller.signal).catch(() => !controller.signal.aborted && this.#lost(null));
    return () => controller.abort();
  }

  async #polling(signal) {
    for (let wait = 0; !signal.aborted; wait = 25) {
      const address = this.#address(`/api/blogs/${this.#slug}/entries`, { wait });
      const answer = await fetch(address, { signal, cache: "no-store" });
      if (answer.status === 404) return this.#lost(4404);
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const { entries, cursor, offset, resumed } = await answer.json();
      if (!this.#isOpen || !resumed) {
        this.#heard({ type: "welcome", cursor, offset, resumed, heartbeat_seconds: 25 });
      }
      if (!resumed) return;
      for (const entry of entries) this.#heard(entry);
      this.#beat();
    }
  }

  #address(path, more = {}) {
    const query = new URLSearchParams({ format: "html", ...more });
    if (this.#cursor) query.set("after", this.#cursor);
    return `${path}?${query}`;
  }

  #heard(frame) {
    const since = this.#heardAt;
    this.#beat();
    if (frame.type === "welcome") this.#welcomed({ ...frame, since });
    else if (frame.type === "entry") this.#entered(frame);
    else if (frame.type === "viewers") this.#say("viewers", frame);
    else if (frame.type === "heartbeat" && judge(this.#offset, frame.offset) !== "seen") this.#gap();
  }

  #welcomed(frame) {
    this.#patience = frame.heartbeat_seconds ?? 25;
    this.#beat();
    this.#misses = 0;
    if (!frame.resumed) {
      this.#drop();
      this.#say("afresh", frame);
      return;
    }
    this.#isOpen = true;
    this.#openedAt = Date.now();
    this.#hasOpened ||= this.#transport === 0;
    this.#cursor ??= frame.cursor;
    this.#offset ??= frame.offset;
    this.#say("link", { state: "open" });
    this.#say("welcome", frame);
  }

  #entered(frame) {
    const verdict = judge(this.#offset, frame.offset);
    if (verdict === "seen") return;
    if (verdict === "gap") return this.#gap();
    this.#cursor = frame.cursor;
    this.#offset = frame.offset;
    this.#say("entry", frame);
  }

  #gap() {
    // The cursor we hold brings all that is missing.
    this.#lost(null);
  }

  #lost(code, isHung = false) {
    if (this.#isClosed) return;
    const wasOpen = this.#isOpen;
    this.#drop();
    clearTimeout(this.#timer);
    // Only what lasted counts as back.
    if (wasOpen && Date.now() - this.#openedAt > STEADY_MS) this.#tries = 0;
    if (code !== null && isFinal(code) && !this.#isStubborn) {
      this.#isClosed = true;
      this.#say("link", { state: "closed", code });
      return;
    }
    if (wasOpen && this.#hasOpened) this.#transport = 0;
    else if (!wasOpen && navigator.onLine) this.#missed(isHung);
    this.#comeBack();
  }

  #missed(isHung) {
    this.#misses += 1;
    // What is refused may be let in later; what a captive portal swallows, won't.
    if (this.#misses < (this.#hasOpened ? MISSES_ONCE_OPEN : isHung ? 1 : MISSES_BEFORE_FALLBACK)) return;
    this.#transport = (this.#transport + 1) % TRANSPORTS.length;
    this.#misses = 0;
  }

  #comeBack() {
    const seconds = delaySeconds(this.#tries++);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), seconds * 1000);
    this.#say("link", { state: navigator.onLine ? "waiting" : "offline", seconds });
  }

  #beat() {
    this.#heardAt = now();
    this.#watch(this.#patience * SILENCE);
  }

  #watch(seconds) {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#lost(null, !this.#isOpen), seconds * 1000);
  }

  #drop() {
    clearTimeout(this.#watchdog);
    this.#end?.();
    this.#end = null;
    this.#isOpen = false;
  }

  #say(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
