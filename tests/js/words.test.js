import { isBlank, isSame, lengthOf, lineOf, payload, tagsOf, wordsOf } from "/static/js/words.js";
import { equal, test, words } from "/tests/js/harness.js";

test("tags are split at commas, without their hashes, each once", () => {
  equal(tagsOf("#housing,  main   hall ,, housing,#"), ["housing", "main hall"]);
  equal(tagsOf("   "), []);
});

test("only white space is blank, and a headline alone is no post", () => {
  equal(isBlank(words(" \n\t")), true);
  equal(isBlank(words("", { headline: "A headline" })), true);
  equal(isBlank(words(".")), false);
});

test("words are the same when the server would keep the same", () => {
  equal(isSame(words("a\r\nb  ", { headline: " A  b " }), words("a\nb", { headline: "A b" })), true);
  equal(isSame(words("e\u0301"), words("\u00e9")), true);
  equal(isSame(words("a  b"), words("a b")), false);
  equal(isSame(words("a", { tags: ["x"] }), words("a")), false);
  equal(isSame(words("a", { key: true }), words("a")), false);
});

test("length counts characters as the server does", () => {
  equal(lengthOf("a\u{1F333}é"), 3);
});

test("a post's words go out as they came in", () => {
  const post = { id: "p", revision: 2, body: "b", kind: "photo", headline: null, key: true, tags: ["x"], html: "" };

  equal(payload(wordsOf(post)), { body: "b", kind: "photo", headline: null, key: true, tags: ["x"] });
});

test("the line to know words by is the headline, else the text, folded", () => {
  equal(lineOf(words("one\n\ntwo")), "one two");
  equal(lineOf(words("one", { headline: "Head" })), "Head");
});
