/** The bar that offers, for five seconds after a post, to take it back. */

import { draw } from "./icon.js";

const OFFERED_MS = 5_000;
const AGAIN_MS = 15_000;

export class Undo {
  #bar;
  #text;
  #button;
  #timer = null;
  #act = null;
  #over = null;

  constructor(bar) {
    this.#bar = bar;
    this.#text = bar.querySelector("[data-text]");
    this.#button = bar.querySelector("button");
    this.#button.addEventListener("click", () => this.#undo());
  }

  /** Offer `act`, which answers null when it is done, else why not; `over()` once the bar is gone. */
  offer(text, act, over = () => {}) {
    this.close();
    this.#act = act;
    this.#over = over;
    this.#show("check", text, "Undo", OFFERED_MS);
  }

  close() {
    clearTimeout(this.#timer);
    this.#bar.hidden = true;
    const over = this.#over;
    this.#act = this.#over = null;
    over?.();
  }

  async #undo() {
    const act = this.#act;
    if (!act) return;
    clearTimeout(this.#timer);
    this.#button.disabled = true;
    this.#text.textContent = "Taking it back";
    const why = await act();
    this.#button.disabled = false;
    if (this.#act !== act) return;
    if (why) this.#show("notsent", why, "Try again", AGAIN_MS);
    else this.close();
  }

  #show(icon, text, label, during) {
    draw(this.#bar, icon);
    this.#text.textContent = text;
    this.#button.textContent = label;
    this.#button.disabled = false;
    this.#bar.hidden = false;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#expire(during), during);
  }

  #expire(during) {
    // Who has reached the button with the keyboard must not see it vanish.
    if (this.#bar.matches(":focus-within")) this.#timer = setTimeout(() => this.#expire(during), during);
    else this.close();
  }
}
