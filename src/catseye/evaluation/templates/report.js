"use strict";
// All text is set with textContent: the user's names of files and classes may contain anything.
const payload = JSON.parse(document.getElementById("payload").textContent);
const VIRIDIS = [[68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142], [33, 145, 140], [40, 174, 128], [94, 201, 98], [173, 220, 48], [253, 231, 37]];

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function heatMap(encoded) {
  const [height, width] = payload.heat;
  const canvas = element("canvas");
  canvas.width = width;
  canvas.height = height;
  const values = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  const pixels = new ImageData(width, height);
  values.forEach((value, index) => {
    const place = value / 255 * (VIRIDIS.length - 1);
    const low = VIRIDIS[Math.floor(place)];
    const high = VIRIDIS[Math.ceil(place)];
    for (let channel = 0; channel < 3; channel++) {
      pixels.data[index * 4 + channel] = low[channel] + (place % 1) * (high[channel] - low[channel]);
    }
    pixels.data[index * 4 + 3] = 255;
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

function card(item) {
  const made = element("article", "image");
  const frame = element("button", "frame");
  frame.type = "button";
  frame.setAttribute("aria-label", "enlarge or shrink " + item.n);
  frame.addEventListener("click", () => made.classList.toggle("large"));
  if (item.i) {
    const image = element("img");
    image.alt = "";
    image.addEventListener("load", () => {
      if (image.naturalWidth < 64) image.classList.add("tiny");
      const map = frame.querySelector("canvas");
      if (map && image.naturalWidth !== image.naturalHeight) { // the map covers the image, not its margins
        const ratio = image.naturalWidth / image.naturalHeight;
        map.style.objectFit = "fill";
        map.style.inset = "auto";
        map.style.width = Math.min(1, ratio) * 100 + "%";
        map.style.height = Math.min(1, 1 / ratio) * 100 + "%";
      }
    });
    image.src = "data:image/webp;base64," + item.i;
    frame.append(image);
    if (item.h && payload.heat) frame.append(heatMap(item.h));
  }
  const text = element("div", "text");
  const right = item.t === item.p;
  text.append(element("div", "truth", payload.classes[item.t]));
  if (!right) text.append(element("div", "wrong", "classified as " + payload.classes[item.p]));
  for (const [index, share] of item.q) {
    const row = element("div", "bar-row" + (index === item.t ? "" : " is-wrong"));
    row.style.setProperty("--v", share);
    row.append(element("span", "", payload.classes[index]), element("span", "", (share * 100).toFixed(1) + "%"));
    text.append(row);
  }
  text.append(element("div", "path", item.n));
  made.append(frame, text);
  return made;
}

function fill(place, numbers) {
  place.replaceChildren(...numbers.map((number) => card(payload.items[number])));
  if (!numbers.length) place.append(element("p", "", "None."));
}

for (const place of document.querySelectorAll(".cards[data-items]")) {
  fill(place, place.dataset.items ? place.dataset.items.split(",").map(Number) : []);
}

const dialog = document.querySelector("dialog");
for (const button of document.querySelectorAll("[data-cell]")) {
  button.addEventListener("click", () => {
    const [truth, answer] = button.dataset.cell.split(",").map(Number);
    const numbers = payload.cells[button.dataset.cell] || [];
    const names = payload.classes;
    document.getElementById("dialog-title").textContent = truth === answer ? names[truth] + ", recognised" : names[truth] + " classified as " + names[answer];
    const total = Number(button.textContent);
    const order = truth === answer ? "lowest confidence first" : "highest confidence first";
    document.getElementById("dialog-note").textContent = numbers.length < total ? `${numbers.length} of ${total} images, ${order}` : `${total} images, ${order}`;
    fill(dialog.querySelector(".cards"), numbers);
    dialog.showModal();
  });
}
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

const maps = document.getElementById("maps");
const showMaps = () => document.body.classList.toggle("no-maps", !maps?.checked); // images are shown without maps at first
if (maps) maps.addEventListener("change", showMaps);
showMaps();

for (const table of document.querySelectorAll(".sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const falling = head.getAttribute("aria-sort") === "ascending" || (column > 0 && !head.hasAttribute("aria-sort"));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const value = (row) => row.cells[column].dataset.v === undefined ? row.cells[column].textContent : Number(row.cells[column].dataset.v);
    const compare = (a, b) => typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
    body.append(...[...body.rows].sort((one, two) => (falling ? -1 : 1) * compare(value(one), value(two))));
  }));
}

const pick = document.getElementById("pick");
if (pick) {
  const show = () => {
    for (const line of document.querySelectorAll("#curves .line[data-key]")) {
      line.classList.toggle("on", line.dataset.key === pick.value);
      if (line.dataset.key === pick.value) line.parentNode.append(line);
    }
  };
  pick.addEventListener("change", show);
  show();
}
