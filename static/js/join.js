/** Redeems an invitation: the secret out of the address, a name, and in. */

import { exchange, meaning, newKey, Unreached } from "./exchange.js";

const NAME = "liveblog:name";
const PENDING = "liveblog:join";
const DELAYS_SECONDS = [2, 4, 8, 15];
const NO_COOKIES =
  "This browser keeps no cookies for this site, so you would be signed out again at once. " +
  "Allow them, then press Join: the invitation isn’t used yet.";

class Joining {
  #form;
  #status;
  #button;
  #key = newKey();
  #tries = 0;
  #timer = null;
  #isBusy = false;

  constructor(form) {
    this.#form = form;
    this.#status = form.querySelector("[data-part=status]");
    this.#button = form.querySelector("button");
    const { name, body } = form.elements;
    if (name) name.value ||= kept("localStorage", NAME) ?? "";
    form.addEventListener("submit", (event) => {
      if (event.submitter?.name === "leave") return;
      if (!keepsCookies()) {
        event.preventDefault();
        return this.#say(NO_COOKIES, true);
      }
      // Words that wait to be posted go with the form, and come back in the composer.
      if (body) return;
      event.preventDefault();
      this.#tries = 0;
      this.#send();
    });
    addEventListener("hashchange", () => this.#open());
    addEventListener("online", () => this.#timer && this.#send());
    this.#open();
  }

  /** Take the secret out of the address, where everybody who looks at the phone could read it. */
  #open() {
    const secret = location.hash.slice(1);
    if (secret) {
      history.replaceState(null, "", location.pathname + location.search);
      // A reload must not cost the way in, which may be good only once.
      keep("sessionStorage", PENDING, { secret, key: this.#key });
    }
    const pending = secret ? { secret, key: this.#key } : kept("sessionStorage", PENDING);
    const field = this.#form.elements.secret;
    if (!pending?.secret || (field.value && field.value !== pending.secret)) return;
    this.#key = pending.key;
    field.value = pending.secret;
    this.#form.classList.add("has-secret");
    (this.#form.elements.name ?? this.#button).focus();
  }

  async #send() {
    if (this.#isBusy) return;
    this.#stop();
    const secret = this.#form.elements.secret.value.trim().split("#").at(-1);
    const field = this.#form.elements.name;
    const name = field ? field.value.trim() : this.#form.dataset.me;
    if (!secret) return this.#ask("secret", "Paste the link that you were given.");
    if (!name) return this.#ask("name", "Say who you are: your name stands by what you write.");
    if (field) keep("localStorage", NAME, name);
    this.#busy(true);
    this.#say("Joining…");
    try {
      this.#answered(
        await exchange("POST", "/api/join", {
          body: { secret, name },
          headers: { "idempotency-key": this.#key },
        }),
      );
    } catch (error) {
      if (!(error instanceof Unreached)) throw error;
      this.#later(error.message, 0);
    }
  }

  #answered(answer) {
    if (answer.status === 200 && answer.json.person) {
      drop("sessionStorage", PENDING);
      this.#say(`Welcome, ${answer.json.person.name}.`);
      const next = answer.json.next ?? "/";
      // Who comes there without the cookie that was set just now is told so.
      location.assign(next.endsWith("/write") ? `${next}?joined` : next);
      return;
    }
    const { kind, why, seconds, errors } = meaning(answer);
    if (kind === "later") return this.#later(why, seconds);
    if (answer.status === 401) {
      drop("sessionStorage", PENDING);
      this.#key = newKey();
      this.#form.elements.secret.value = "";
      return this.#ask(
        "secret",
        "This invitation is used up, withdrawn or too old. Ask whoever gave it to you for a new one.",
      );
    }
    if (kind === "reused") {
      // The first answer was lost, and the name corrected since.
      return this.#ask("name", "You joined already, by the name you gave first. Type that one.");
    }
    this.#ask(errors?.[0]?.field === "secret" ? "secret" : "name", why);
  }

  #later(why, seconds) {
    const delay = DELAYS_SECONDS[Math.min(this.#tries, DELAYS_SECONDS.length - 1)];
    this.#tries += 1;
    this.#busy(false);
    this.#say(`${why} Your name is kept; we try again by ourselves.`, true);
    this.#timer = setTimeout(() => this.#send(), Math.max(delay, seconds) * 1000);
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  #ask(field, why) {
    this.#busy(false);
    if (field === "secret") this.#form.classList.remove("has-secret");
    this.#say(why, true);
    this.#form.elements[field]?.focus();
  }

  #busy(isBusy) {
    this.#isBusy = isBusy;
    this.#button.disabled = isBusy;
  }

  #say(text, isHeed = false) {
    this.#status.hidden = false;
    this.#status.classList.toggle("is-heed", isHeed);
    this.#status.querySelector("[data-text]").textContent = text;
  }
}

/** Asked before an invitation is used up: what signs somebody in is a cookie. */
function keepsCookies() {
  document.cookie = "liveblog_try=1; path=/; samesite=lax";
  const isKept = document.cookie.includes("liveblog_try=");
  document.cookie = "liveblog_try=; path=/; samesite=lax; max-age=0";
  return isKept;
}

function kept(storage, name) {
  try {
    return JSON.parse(window[storage].getItem(name));
  } catch {
    return null;
  }
}

function keep(storage, name, value) {
  try {
    window[storage].setItem(name, JSON.stringify(value));
  } catch {
    // It is a convenience; without it the name is typed again.
  }
}

function drop(storage, name) {
  try {
    window[storage].removeItem(name);
  } catch {
    // Nothing was kept.
  }
}

new Joining(document.querySelector("#join"));
