/** The words of a post before they are posted: blank or not, the same or not, and how they read in one line. */

export const BODY_LONGEST = 20_000;

export const NOTHING = Object.freeze({ body: "", kind: "update", headline: "", key: false, tags: [] });

/** Tags out of one line: split at commas, `#` and blanks dropped, each once. */
export function tagsOf(line) {
  const tags = line.split(",").map((tag) => folded(tag.trim().replace(/^#+/, "")));
  return [...new Set(tags.filter(Boolean))];
}

/** Whether there is nothing to post. A headline alone is no post: the server wants a body. */
export function isBlank(words) {
  return !words.body.trim();
}

/** Whether nothing at all was typed. */
export function isEmpty(words) {
  return isBlank(words) && !words.headline.trim() && !words.tags.length;
}

/** Whether the server, which trims and folds, would keep both as the same post. */
export function isSame(one, other) {
  return canonical(one) === canonical(other);
}

/** The words of a post as the API tells them. */
export function wordsOf(post) {
  const { body, kind, headline, key, tags } = post;
  return { body, kind, headline: headline ?? "", key, tags: [...tags] };
}

/** Words as the API takes them. */
export function payload(words) {
  return { ...words, headline: words.headline.trim() || null };
}

/** The length as the server counts it: characters, not UTF-16 units. */
export function lengthOf(text) {
  let length = 0;
  for (const _ of text) length += 1;
  return length;
}

/** One line to know the words by. */
export function lineOf(words) {
  return folded(words.headline || words.body).slice(0, 200);
}

function canonical({ body, kind, headline, key, tags }) {
  const text = body.replace(/\r\n?/g, "\n").trim();
  return JSON.stringify([text, kind, folded(headline), key, tags]).normalize("NFC");
}

function folded(text) {
  return text.split(/\s+/).filter(Boolean).join(" ");
}
