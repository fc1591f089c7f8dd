/** The bar that offers to take a post back. */

import { Undo } from "/static/js/undo.js";
import { equal, eventually, test } from "/tests/js/harness.js";

test("Undo that fails stays, says why, and can be pressed again", async () => {
  document.body.innerHTML =
    '<p hidden><svg><use href="/static/icons.svg#check"/></svg><span data-text></span><button type="button">Undo</button></p>';
  const bar = document.querySelector("p");
  const button = bar.querySelector("button");
  const undo = new Undo(bar);
  const answers = ["Not taken back. The network broke off.", null];
  undo.offer("Your post is live.", async () => answers.shift());
  equal(bar.hidden, false);

  button.click();
  await eventually(() => button.textContent === "Try again");
  equal([bar.hidden, bar.querySelector("[data-text]").textContent.includes("network")], [false, true]);

  button.click();
  await eventually(() => bar.hidden);
  equal(answers.length, 0);
});
