/** How long to wait before the next try: with full jitter, so that a hall doesn't come back at once. */

const BASE_SECONDS = 0.5;
const CAP_SECONDS = 30;

/** Seconds before try number `tries`, from 0. */
export function delaySeconds(tries, random = Math.random) {
  const most = Math.min(CAP_SECONDS, BASE_SECONDS * 2 ** Math.min(tries, 10));
  return 0.1 + random() * most;
}

/** Whether a close code says that coming back is of no use. */
export function isFinal(code) {
  return code >= 4400 && code < 4500;
}
