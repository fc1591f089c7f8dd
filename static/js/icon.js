/** Puts another drawing of the icon sheet into an icon that the server has set. */

/** `place` is the icon, or what holds one. */
export function draw(place, name) {
  const use = place.querySelector("use");
  use.setAttribute("href", `${use.getAttribute("href").split("#")[0]}#${name}`);
}
