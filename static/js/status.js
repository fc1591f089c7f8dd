/** The line that says how the page stands: a word, an icon, and what goes with them. */

const WORDS = {
  connecting: "Connecting",
  live: "Live",
  upcoming: "Not begun",
  paused: "Paused",
  ended: "Ended",
  reconnecting: "Reconnecting",
  offline: "Offline",
  closed: "Closed",
};

const ICONS = { closed: "offline", connecting: "reconnecting" };

export class Status {
  #element;

  constructor(element) {
    this.#element = element;
  }

  show(state, detail) {
    const element = this.#element;
    if (element.dataset.state !== state) {
      const use = element.querySelector("use");
      use.setAttribute("href", `${use.getAttribute("href").split("#")[0]}#${ICONS[state] ?? state}`);
      element.dataset.state = state;
      element.querySelector("[data-part=word]").textContent = WORDS[state];
    }
    const said = element.querySelector("[data-part=detail]");
    if (said.textContent !== detail) said.textContent = detail;
  }
}
