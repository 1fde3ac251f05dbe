// The picture on the bench: chosen from thumbnails, dropped anywhere, pasted, or picked as a file. Kept for this tab.

import { calm, complain, pictures, sendPicture } from "./api.js";
import { el } from "./draw.js";

const KEY = "catseye-lab-picture";

/**
 * Fill `place` with the picker; `chosen(picture)` is called at once and at every change. `extra` is one choice more,
 * {name, title, sketch}, that is no picture; it stands first and is chosen at first.
 */
export async function pickPicture(place, chosen = () => {}, extra = null) {
  const list = async () => [...(extra ? [extra] : []), ...(await pictures())];
  let all = await list();
  let current = extra ?? all.find((one) => one.name === sessionStorage.getItem(KEY)) ?? all[0];
  const input = el("input", { type: "file", accept: "image/jpeg,image/png,image/webp,image/bmp,image/gif", hidden: true, "aria-label": "Your own picture" });
  const drop = el("button", { type: "button", class: "drop", onclick: () => input.click() }, el("b", {}, "Your picture"), "drop, paste or choose");

  function select(picture) {
    current = picture;
    if (picture !== extra) sessionStorage.setItem(KEY, picture.name);
    show();
    chosen(picture);
  }

  function show() {
    const had = place.contains(document.activeElement) && document.activeElement.dataset.name;
    const buttons = all.map((picture) => el("button", { type: "button", "data-name": picture.name, "aria-pressed": String(picture === current), onclick: () => select(picture) },
      picture === extra ? el("span", { class: "sketch mono", "aria-hidden": "true" }, extra.sketch) : el("img", { src: `/picture/${picture.name}.png`, alt: "", class: picture.width < 64 ? "tiny" : null }), picture.title));
    place.replaceChildren(...buttons, drop, input);
    place.classList.add("pictures");
    if (had) buttons.find((button) => button.dataset.name === had)?.focus();
  }

  async function take(files) {
    const file = [...files][0];
    if (!file) return;
    try {
      const picture = await sendPicture(file);
      all = await list();
      calm();
      select(all.find((one) => one.name === picture.name));
    } catch (error) {
      complain(error);
    }
  }

  input.onchange = () => { take(input.files); input.value = ""; };
  // Anywhere on the page: a picture dropped beside the field would otherwise replace the page.
  let depth = 0;
  const mark = (by) => { depth = Math.max(0, depth + by); document.body.classList.toggle("dropping", depth > 0); };
  addEventListener("dragenter", (event) => { event.preventDefault(); mark(1); });
  addEventListener("dragleave", () => mark(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => { event.preventDefault(); mark(-9); take(event.dataTransfer.files); });
  addEventListener("paste", (event) => take(event.clipboardData.files));
  select(current);
}
