/** Times as people read them: how long ago, what o'clock in the hall; one timer for all. */

const MINUTE = 60_000;

const said = Date.parse(document.documentElement.dataset.now);
/** When the server wrote this page. */
export const writtenAt = said || Date.now();
let ahead = 0;

/** The server's present moment: a device's clock may be wrong. */
export const now = () => Date.now() + ahead;

const [load] = performance.getEntriesByType("navigation");
if (said && load?.transferSize) {
  ahead = said - (Date.now() - performance.now() + load.responseStart);
} else if (said) {
  // Out of the browser's cache a page is of any age.
  fetch(location.href, { method: "HEAD", cache: "no-store" })
    .then(({ headers }) => (ahead = Date.parse(headers.get("date")) - Date.now() || 0))
    .catch(() => {});
}

/** "now", "4 min ago", "2 h ago", or nothing where the day must be said. */
export function ago(from, now) {
  const minutes = Math.floor((now - from) / MINUTE);
  if (minutes < 1) return "now";
  if (minutes < 60) return `${minutes} min ago`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours} h ago` : `${Math.floor(hours / 24)} d ago`;
}

/** Writes "HH:MM" in a zone. */
export function clockIn(zone) {
  const format = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: zone });
  return (moment) => format.format(moment);
}

/** Keep every `[data-ago]` and the clock true; `also` runs with each tick. */
export function keepTimes(zone, also = () => {}) {
  const clock = clockIn(zone);
  const tick = () => {
    const at = now();
    for (const element of document.querySelectorAll("[data-ago]")) {
      const text = ago(Date.parse(element.dateTime), at);
      if (element.textContent !== text) element.textContent = text;
    }
    const shown = document.querySelector("[data-part=clock]");
    if (shown) shown.textContent = clock(at);
    also(at);
  };
  tick();
  setInterval(tick, 10_000);
  return tick;
}
