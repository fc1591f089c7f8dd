/** What an entry means to a page that holds the log up to an offset. */

/** "next": put it in; "seen": it is there already; "gap": something before it is missing. */
export function judge(held, offset) {
  if (held === null || offset === held + 1) return "next";
  return offset <= held ? "seen" : "gap";
}
