// The image on the bench: chosen from thumbnails, dropped anywhere, pasted, or picked as a file. Kept for this tab.

import { calm, complain, images, sendImage } from "./api.js";
import { el } from "./draw.js";

const KEY = "catseye-lab-image";

/**
 * Fill `place` with the picker; `onChoice(image)` is called at once and at every change. `extra` is a further choice,
 * {name, title, sketch}, that is no image; it comes first and is selected first. Returns take(files), which puts a file
 * on the bench as if it had been dropped.
 */
export async function pickImage(place, onChoice = () => {}, extra = null) {
  const list = async () => [...(extra ? [extra] : []), ...(await images())];
  let all = await list();
  let current = extra ?? all.find((image) => image.name === sessionStorage.getItem(KEY)) ?? all[0];
  const input = el("input", { type: "file", accept: "image/jpeg,image/png,image/webp,image/bmp,image/gif", hidden: true, "aria-label": "Your own image" });
  const drop = el("button", { type: "button", class: "drop", onclick: () => input.click() }, el("b", {}, "Your image"), "drop, paste or choose");

  function select(image) {
    current = image;
    if (image !== extra) sessionStorage.setItem(KEY, image.name);
    show();
    onChoice(image);
  }

  function show() {
    const had = place.contains(document.activeElement) && document.activeElement.dataset.name;
    const buttons = all.map((image) => el("button", { type: "button", "data-name": image.name, "aria-pressed": String(image === current), onclick: () => select(image) },
      image === extra ? el("span", { class: "sketch mono", "aria-hidden": "true" }, extra.sketch) : el("img", { src: `/image/${image.name}.png`, alt: "", class: image.width < 64 ? "tiny" : null }), image.title));
    place.replaceChildren(...buttons, drop, input);
    place.classList.add("images");
    if (had) buttons.find((button) => button.dataset.name === had)?.focus();
  }

  async function take(files) {
    const file = [...files][0];
    if (!file) return;
    try {
      const image = await sendImage(file);
      all = await list();
      calm();
      select(all.find((other) => other.name === image.name));
    } catch (error) {
      complain(error);
    }
  }

  input.onchange = () => { take(input.files); input.value = ""; };
  // Anywhere on the page: the browser would open an image that is dropped beside the field.
  let depth = 0;
  const mark = (by) => { depth = Math.max(0, depth + by); document.body.classList.toggle("dropping", depth > 0); };
  addEventListener("dragenter", (event) => { event.preventDefault(); mark(1); });
  addEventListener("dragleave", () => mark(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => { event.preventDefault(); mark(-9); take(event.dataTransfer.files); });
  addEventListener("paste", (event) => take(event.clipboardData.files));
  select(current);
  return take;
}
