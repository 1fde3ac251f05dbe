// Chapter 1: a magnifier over the image, its channels, and the cost of a first layer.

import { ask, complain, latest, ready } from "./api.js";
import { choices, count, el, facts, format, get, grid, slider } from "./draw.js";
import { pickImage } from "./images.js";
import { tries } from "./tries.js";

const NAMES = [["all", "Colour"], ["0", "R"], ["1", "G"], ["2", "B"]];
const state = { image: null, top: 0, left: 0, side: 5, channel: "all", seen: null };
const cost = { channels: 3, side: 224, units: 1000, filters: 64, kernel: 3 };

const dark = (r, g, b) => 0.299 * r + 0.587 * g + 0.114 * b < 118;

function showValues() {
  const { channels, top, left } = state.seen;
  const grey = channels.length === 1;
  const chosen = grey ? 0 : state.channel === "all" ? null : Number(state.channel);
  const side = channels[0].length;
  const written = chosen === null ? side <= 5 : side <= 10;
  const table = grid(channels[chosen ?? 0], {
    dense: side > 5, signed: false,
    cell: (td, value, y, x) => {
      const all = channels.map((one) => one[y][x]);
      const colour = chosen === null ? all : grey ? [value, value, value] : [0, 1, 2].map((at) => (at === chosen ? value : 0));
      const texts = written ? (chosen === null ? all : [value]).map((one) => el("span", {}, String(one))) : [];
      const pixel = el("div", { class: "pixel" }, ...texts);
      pixel.style.background = `rgb(${colour.join(" ")})`;
      pixel.style.color = dark(...colour) ? "#fff" : "#000";
      td.replaceChildren(pixel);
    },
  });
  table.classList.add("values");
  get("values").replaceChildren(table);
  get("where").textContent = `rows ${top} – ${top + side - 1}, columns ${left} – ${left + channels[0][0].length - 1}`;
  get("values-note").textContent = written
    ? (chosen === null ? "Three numbers per pixel: red, green, blue, each from 0 (none) to 255 (full)." : "One number per pixel, from 0 (black) to 255 (full).")
    : "Zoom in until the values are shown.";
}

function showLoupe() {
  const { width, height } = state.image;
  const style = get("loupe").style;
  style.left = `${(100 * state.left) / width}%`;
  style.top = `${(100 * state.top) / height}%`;
  style.width = `${(100 * Math.min(state.side, width)) / width}%`;
  style.height = `${(100 * Math.min(state.side, height)) / height}%`;
}

const look = latest(
  () => ask("pixels/look", { image: state.image.name, top: state.top, left: state.left, side: state.side }),
  (seen) => {
    Object.assign(state, { seen, top: seen.top, left: seen.left });
    showLoupe();
    showValues();
    get("shape").textContent = `(${seen.shape.join(", ")})`;
    const given = state.image;
    const shrunk = given.given_width !== given.width ? `; shrunk here from ${given.given_width} × ${given.given_height}` : "";
    facts(get("image-facts"), [
      ["shape", `(${seen.shape.join(", ")})`, `channels, rows, columns${shrunk}`],
      ["values", count(seen.num_values), `= ${seen.shape.join(" × ")}`],
      ["lowest, highest", `${seen.lowest}, ${seen.highest}`],
      [seen.means.length === 3 ? "mean R, G, B" : "mean", seen.means.map((one) => format(one, 1)).join(", ")],
    ]);
    observe({ looked: seen });
    get("shift").textContent = `Move the image above by one pixel and ${format(100 * seen.changed_by_a_shift, 1)}% of its ${count(seen.num_values)} values change: to a dense layer, which knows a value only by its place in the row, that is a different image.`;
  },
);

function move(right, down) {
  state.left = Math.max(0, Math.min(state.image.width - state.side, state.left + right));
  state.top = Math.max(0, Math.min(state.image.height - state.side, state.top + down));
  showLoupe();
  look();
}

/** The image on canvases: whole, and with all but one channel black. */
function showImage(image) {
  const loaded = new Image();
  loaded.onload = () => {
    if (image !== state.image) return;
    const whole = get("whole");
    whole.width = loaded.width;
    whole.height = loaded.height;
    whole.getContext("2d").drawImage(loaded, 0, 0);
    const names = image.channels === 1 ? ["grey"] : ["red", "green", "blue"];
    get("apart").replaceChildren(...names.map((name, channel) => {
      const canvas = el("canvas", { class: "pixels", width: loaded.width, height: loaded.height, role: "img", "aria-label": `the ${name} values alone` });
      const pen = canvas.getContext("2d");
      pen.drawImage(loaded, 0, 0);
      const data = pen.getImageData(0, 0, loaded.width, loaded.height);
      for (let at = 0; image.channels === 3 && at < data.data.length; at += 4) {
        for (let other = 0; other < 3; other += 1) if (other !== channel) data.data[at + other] = 0;
      }
      pen.putImageData(data, 0, 0);
      return el("figure", {}, el("div", { class: "frame" }, canvas), el("figcaption", {}, name));
    }));
  };
  loaded.src = `/image/${image.name}.png`;
}

function choose(image) {
  const largest = Math.min(16, image.width, image.height);
  Object.assign(state, { image, side: Math.min(state.side, largest) });
  state.left = Math.round((image.width - state.side) * 0.4);
  state.top = Math.round((image.height - state.side) * 0.34);
  get("stage").style.maxWidth = `${Math.round(480 * Math.min(1, image.width / image.height))}px`;
  showImage(image);
  const labels = image.channels === 1 ? [["all", "Grey"]] : NAMES;
  if (image.channels === 1) state.channel = "all";
  choices(get("channel"), "Show", labels, state.channel, (value) => { state.channel = value; showValues(); });
  get("zoom").replaceChildren();
  // To the right: fewer pixels, drawn larger.
  slider(get("zoom"), "Zoom", {
    min: -largest, max: -2, value: -state.side, show: (value) => `${-value} × ${-value} pixels`,
    changed: (value) => {
      const shift = Math.round((state.side + value) / 2);
      state.side = -value;
      move(shift, shift);
    },
  });
  look();
}

const compare = latest(() => ask("pixels/compare", cost), (seen) => {
  const bar = (name, value, detail, share) => el("div", { class: "cost-row" },
    el("div", { class: "cost-head" }, el("strong", {}, name), el("span", { class: "cost-number" }, `${count(value)} parameters`)),
    el("div", { class: "cost-track" }, el("span", { class: "cost-fill", vars: { "--share": share } })),
    el("p", { class: "quiet small mono" }, detail));
  get("cost").replaceChildren(
    bar(`Dense, ${count(cost.units)} units`, seen.dense.parameters, `${count(seen.num_values)} values × ${count(cost.units)} units = ${count(seen.dense.weights)} weights, + ${count(seen.dense.biases)} biases`, 1),
    bar(`Convolution, ${cost.filters} filters`, seen.convolution.parameters, `${cost.channels} channels × ${cost.kernel} × ${cost.kernel} × ${cost.filters} filters = ${count(seen.convolution.weights)} weights, + ${cost.filters} biases`, seen.convolution.parameters / seen.dense.parameters),
  );
  observe({ costs: seen });
  get("cost-says").textContent = `The dense layer has ${count(Math.round(seen.times))} times as many, ${count(Math.round(seen.megabytes))} MB of them, and gives ${count(cost.units)} numbers; the convolution gives ${count(seen.convolution.outputs)}, still in rows and columns. Bars are to scale.`;
});

const sized = {};
const times = (ratio) => (Math.abs(ratio - 1) < 0.02 ? "it stays the same" : Math.abs(ratio - 2) < 0.05 ? "twice as many" : Math.abs(ratio - 4) < 0.1 ? "four times as many" : `${format(ratio)} times as many`);
/** Both layers at one side and at twice that side, all else equal, once the reader has had both. */
function doubled(seen) {
  const rest = `${cost.units} ${cost.filters} ${cost.kernel}`;
  sized[`${rest} ${cost.side}`] = seen;
  return [sized[`${rest} ${cost.side / 2}`], seen];
}
const observe = tries([
  {
    ask: "How many numbers will each pixel of a handwritten digit have?",
    options: ["1", "3"],
    how: "Choose one of the digits above and read its shape.",
    seen: ({ looked }) => (looked && state.image.name.startsWith("digit") ? { right: String(looked.shape[0]), says: `Its shape is (${looked.shape.join(", ")}): ${looked.shape[0] === 1 ? "one channel, grey" : "three channels"}.` } : null),
  },
  {
    ask: "An image twice as wide and twice as high: what happens to the parameters of the dense layer?",
    options: ["it stays the same", "twice as many", "four times as many"],
    how: "In “What the first layer costs”, set the image to 128 px a side, then to 256.",
    seen: ({ costs }) => {
      if (!costs) return null;
      const [before, after] = doubled(costs);
      return before ? { right: times(after.dense.parameters / before.dense.parameters), says: `${count(before.dense.parameters)} at ${cost.side / 2} px, ${count(after.dense.parameters)} at ${cost.side} px: a weight for every pixel.` } : null;
    },
  },
  {
    ask: "And to those of the convolution?",
    options: ["it stays the same", "twice as many", "four times as many"],
    how: "The same: 128 px a side, then 256.",
    seen: ({ costs }) => {
      if (!costs) return null;
      const [before, after] = doubled(costs);
      return before ? { right: times(after.convolution.parameters / before.convolution.parameters), says: `${count(after.convolution.parameters)} at both sizes: the same kernels slide further.` } : null;
    },
  },
]);

async function start() {
  const example = await ask("pixels/example");
  const shade = (td, value) => { td.style.background = `rgb(${value} ${value} ${value})`; td.style.color = dark(value, value, value) ? "#fff" : "#000"; };
  get("example").replaceChildren(grid(example.values, { signed: false, cell: shade }));
  get("flat").replaceChildren(grid([example.values.flat()], { dense: true, signed: false, cell: shade }));
  const place = get("cost-controls");
  const change = (name) => (value) => { cost[name] = value; compare(); };
  slider(place, "Image, pixels a side", { min: 8, max: 512, step: 8, value: cost.side, changed: change("side") });
  slider(place, "Units of the dense layer", { min: 10, max: 4000, step: 10, value: cost.units, show: count, changed: change("units") });
  slider(place, "Filters of the convolution", { min: 1, max: 512, value: cost.filters, changed: change("filters") });
  slider(place, "Kernel, values a side", { min: 1, max: 11, step: 2, value: cost.kernel, changed: change("kernel") });
  compare();

  const stage = get("stage");
  const toPointer = (event) => {
    const box = get("whole").getBoundingClientRect();
    state.left = Math.round(((event.clientX - box.left) / box.width) * state.image.width - state.side / 2);
    state.top = Math.round(((event.clientY - box.top) / box.height) * state.image.height - state.side / 2);
    move(0, 0);
  };
  stage.onpointerdown = (event) => { stage.setPointerCapture(event.pointerId); toPointer(event); };
  stage.onpointermove = (event) => { if (event.buttons) toPointer(event); };
  stage.onkeydown = (event) => {
    const far = event.shiftKey ? state.side : 1;
    const step = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] }[event.key];
    if (!step) return;
    event.preventDefault();
    move(...step);
  };
  await pickImage(get("images"), choose);
}

start().catch(complain).finally(ready);
