// Chapter 2: a kernel slides over a table or an image; every place can be shown in numbers.

import { ask, complain, latest, ready, Refused } from "./api.js";
import { choices, editableGrid, el, format, get, grid, paintMap, scrolled, slider } from "./draw.js";
import { pickImage } from "./images.js";
import { tries } from "./tries.js";

const EXAMPLE = { name: "example", title: "5 × 5 numbers", sketch: "1 2 3\n0 1 2\n1 0 1" };
const state = { image: EXAMPLE, side: 48, kernel: [[[0]]], divisor: 1, as_network: false, stride: 1, padding: 0, dilation: 1, row: 0, column: 0 };
let seen = null;
let known = [];
let setPreset = () => {};
let timer = 0;

const asked = () => ({ ...state, image: state.image.name });
const written = () => seen.input[0].length <= 12;

/** The input as a table with its border of zeros, the values under the window marked. */
function inputTable() {
  const { stride: _, padding, dilation } = state;
  const { top, left } = seen.position;
  const side = seen.formula.kernel;
  const values = seen.input[0];
  const width = values[0].length;
  const blank = Array(width + 2 * padding).fill(0);
  const rows = [...Array(padding).fill(blank), ...values.map((row) => [...Array(padding).fill(0), ...row, ...Array(padding).fill(0)]), ...Array(padding).fill(blank)];
  const under = (place, first) => place >= first && (place - first) % dilation === 0 && (place - first) / dilation < side;
  return grid(rows, {
    signed: false, dense: rows.length > 7,
    cell: (td, value, y, x) => {
      const [row, column] = [y - padding, x - padding];
      if (row < 0 || column < 0 || row >= values.length || column >= width) td.classList.add("pad");
      if (under(row, top) && under(column, left)) td.classList.add("on");
    },
  });
}

/** An image of one or three channels with the window over it. */
function inputCanvas() {
  const canvas = el("canvas", { class: "pixels", role: "img", "aria-label": "the input with the window over it" });
  const [height, width] = [seen.formula.height, seen.formula.width];
  const flat = seen.input.flat(2);
  const low = state.as_network ? Math.min(...flat) : 0;
  const high = state.as_network ? Math.max(...flat) : 255;
  const share = (value) => (255 * (value - low)) / (high - low || 1);
  canvas.width = width;
  canvas.height = height;
  const image = canvas.getContext("2d").createImageData(width, height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const colours = [0, 1, 2].map((channel) => share(seen.input[seen.input.length === 3 ? channel : 0][y][x]));
      image.data.set([...colours, 255], (y * width + x) * 4);
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  const { top, left } = seen.position;
  return el("div", { class: "map-stage large" }, canvas, frame(top, left, seen.formula.reach, height, width));
}

function frame(top, left, side, height, width) {
  const percent = (value, whole) => `${(100 * value) / whole}%`;
  const box = el("span", { class: "window" });
  Object.assign(box.style, { top: percent(top, height), left: percent(left, width), width: percent(side, width), height: percent(side, height) });
  return box;
}

function goTo(row, column) {
  const { rows, columns } = seen.formula;
  state.row = Math.max(0, Math.min(rows - 1, row));
  state.column = Math.max(0, Math.min(columns - 1, column));
  slide();
}

function output() {
  const { row, column } = seen.position;
  const small = seen.output.length <= 12 && written();
  const stage = el("div", { class: small ? "map-stage" : "map-stage large", tabindex: 0, role: "group", "aria-label": "Output; arrow keys move the window" });
  if (small) {
    stage.append(grid(seen.output, {
      dense: seen.output.length > 7,
      cell: (td, value, y, x) => {
        td.onclick = () => goTo(y, x);
        if (y === row && x === column) td.classList.add("here");
      },
    }));
  } else {
    const canvas = el("canvas", { class: "pixels", role: "img", "aria-label": "the output" });
    const positive = state.kernel.flat(2).every((value) => value >= 0) && !state.as_network;
    paintMap(canvas, seen.output, { colours: positive ? "grey" : "signed" });
    stage.append(canvas, frame(row, column, 1, seen.formula.rows, seen.formula.columns));
    const point = (event) => {
      const box = canvas.getBoundingClientRect();
      goTo(Math.floor(((event.clientY - box.top) / box.height) * seen.formula.rows), Math.floor(((event.clientX - box.left) / box.width) * seen.formula.columns));
    };
    stage.onpointerdown = point;
    stage.onpointermove = (event) => { if (event.buttons) point(event); };
    const flat = seen.output.flat();
    get("output-note").textContent = positive ? `from ${format(Math.min(...flat), 1)} (black) to ${format(Math.max(...flat), 1)} (white)` : `from ${format(Math.min(...flat), 1)} (blue) over 0 (paper) to ${format(Math.max(...flat), 1)} (orange)`;
  }
  if (small) get("output-note").textContent = "Choose a number to see where it comes from.";
  stage.onkeydown = (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    goTo(row + step[0], column + step[1]);
  };
  const had = get("output").contains(document.activeElement);
  get("output").replaceChildren(el("div", { class: "scroll" }, stage));
  if (had) stage.focus();
}

/** Values × kernel = products, and their sum as one line. */
function writeOut() {
  const { values, products, sums, total, row, column } = seen.position;
  const names = values.length === 3 ? ["red", "green", "blue"] : [""];
  const dense = values[0].length > 3;
  const plain = { signed: false, dense };
  const wide = (label, table) => (values[0].length > 7 ? scrolled(label, table) : table);
  const parts = values.map((table, channel) => {
    const weights = state.kernel[channel].map((line) => line.map((value) => value / state.divisor));
    return el("div", { class: "written" },
      wide("Values", grid(table, { ...plain, caption: names[channel] ? `${names[channel]} values` : "under the window" })), el("span", { class: "sign" }, "×"),
      wide("Kernel", grid(weights, { dense, caption: "kernel" })), el("span", { class: "sign" }, "="),
      wide("Products", grid(products[channel], { dense, caption: "products" })), el("span", { class: "sign" }, "→"),
      el("span", { class: "total", id: channel === 0 && values.length === 1 ? "total" : null }, format(sums[channel])));
  });
  if (values.length === 3) parts.push(el("p", { class: "formula" }, `${sums.map((one) => format(one)).join(" + ")} = `, el("b", { id: "total" }, format(total))));
  else if (!dense) {
    const terms = values[0].flatMap((line, y) => line.map((value, x) => `${format(value)}·${bracketed(state.kernel[0][y][x] / state.divisor)}`));
    parts.push(el("p", { class: "formula" }, `${terms.join(" + ")} = `, el("b", {}, format(total))));
  }
  get("written").replaceChildren(...parts);
  get("place").textContent = `(${row}, ${column})`;
}

const bracketed = (value) => (value < 0 ? `(${format(value, 4)})` : format(value, 4));

function formula() {
  const { height, width, kernel, rows, columns } = seen.formula;
  const { stride, padding, dilation } = state;
  const line = (name, size, result) => [el("span", {}, `${name}  ⌊(${size} + 2·${padding} − ${dilation}·(${kernel} − 1) − 1) / ${stride}⌋ + 1 = `), el("b", {}, String(result)), el("br")];
  get("formula").replaceChildren(...line("rows   ", height, rows), ...line("columns", width, columns));
  get("formula-says").textContent = dilation === 1 ? `With dilation 1 that is ⌊(input − kernel + 2·padding) / stride⌋ + 1.` : `The window spans ${seen.formula.reach} values: its ${kernel} weights lie ${dilation} apart.`;
}

const slide = latest(() => ask("convolution/slide", asked()), (answer) => {
  seen = answer;
  Object.assign(state, { row: answer.position.row, column: answer.position.column });
  const { rows, columns, height, width } = answer.formula;
  get("input-size").textContent = `${height} × ${width}${answer.input.length === 3 ? " × 3" : ""}`;
  get("output-size").textContent = `${rows} × ${columns}`;
  get("input").replaceChildren(scrolled("The input", written() ? inputTable() : inputCanvas()));
  output();
  writeOut();
  formula();
  const slider_ = get("position");
  slider_.max = rows * columns - 1;
  slider_.value = state.row * columns + state.column;
  get("place-number").textContent = `${Number(slider_.value) + 1} of ${rows * columns}`;
  const sum = answer.weights_sum;
  get("sum").textContent = Math.abs(sum) < 1e-6 ? "Its weights sum to 0: plain areas give 0." : `Its weights sum to ${format(sum)}${Math.abs(sum - 1) < 1e-6 ? ": plain areas keep their brightness." : "."}`;
  observe();
  ready();
});

const onExample = (stride, padding) => state.image === EXAMPLE && state.kernel[0].length === 3 && state.dilation === 1 && state.stride === stride && state.padding === padding;
const sizeNow = () => `${seen.formula.rows} × ${seen.formula.columns}`;
const observe = tries([
  {
    ask: "The 5 × 5 numbers and a 3 × 3 kernel give a map of 3 × 3. How large is it with stride 2?",
    options: ["3 × 3", "2 × 2", "1 × 1"],
    how: "With the 5 × 5 numbers, padding 0 and dilation 1, set Stride to 2.",
    seen: () => (onExample(2, 0) ? { right: sizeNow(), says: `${get("formula").textContent.split("columns")[0].replace("rows", "").trim()}: the window fits at every second place.` } : null),
  },
  {
    ask: "And with a padding of 1 at stride 1?",
    options: ["3 × 3", "5 × 5", "7 × 7"],
    how: "Set Stride back to 1 and Padding to 1.",
    seen: () => (onExample(1, 1) ? { right: sizeNow(), says: "As large as the input: a border of one zero for a kernel of three. This is called “same” padding." } : null),
  },
  {
    ask: "The Gaussian kernel on an image: what happens to its plain areas?",
    options: ["they get brighter", "they get darker", "they stay as bright"],
    how: "Choose an image above, and the Gaussian kernel.",
    seen: () => {
      const positive = state.kernel.flat(2).every((value) => value >= 0);
      if (state.image === EXAMPLE || !positive || state.as_network || state.divisor === 1) return null;
      const sum = seen.weights_sum;
      return { right: Math.abs(sum - 1) < 1e-6 ? "they stay as bright" : sum > 1 ? "they get brighter" : "they get darker", says: `Its weights sum to ${format(sum)}: where all values are equal, the sum of the products is that value times ${format(sum)}.` };
    },
  },
]);

function showKernel() {
  get("kernel").replaceChildren(...state.kernel.map((table, channel) => {
    const name = state.kernel.length === 3 ? ["red", "green", "blue"][channel] : "";
    return editableGrid(table, {
      label: `${name} kernel`.trim(), caption: name || null, min: -999, max: 999,
      changed: (rows) => { state.kernel[channel] = rows; setPreset(null); slide(); },
    });
  }));
  get("divisor").value = state.divisor;
}

function use(kernel, divisor = 1, asNetwork = false) {
  Object.assign(state, { kernel, divisor, as_network: asNetwork });
  get("divisor-field").hidden = asNetwork;
  showKernel();
  slide();
}

async function loadKernels(side, name = "vertical edge") {
  known = (await ask("convolution/kernels", { side, seed: Math.floor(Math.random() * 1e6) })).kernels;
  setPreset = choices(get("presets"), "Known kernels", known.map((one) => [one.name, one.name]), name, async (chosen) => {
    if (chosen === "random") known = (await ask("convolution/kernels", { side, seed: Math.floor(Math.random() * 1e6) })).kernels;
    choosePreset(chosen);
  });
  choosePreset(name);
}

function choosePreset(name) {
  const found = known.find((one) => one.name === name);
  use([found.values], found.divisor);
  markFilter(null);
}

function markFilter(button) {
  for (const one of get("filters").querySelectorAll("button")) one.setAttribute("aria-pressed", String(one === button));
}

async function loadFilters() {
  const found = await ask("convolution/filters");
  get("filters-say").textContent = `${found.says} Layer ${found.layer}: ${found.shape.join(" × ")}, stride ${found.stride}, padding ${found.padding}. Filters are applied to the image as the network gets it.`;
  get("filters").replaceChildren(...found.filters.map((one, number) => {
    const canvas = el("canvas", { class: "pixels", width: one.image[0].length, height: one.image.length });
    const image = canvas.getContext("2d").createImageData(canvas.width, canvas.height);
    one.image.flat().forEach((rgb, index) => image.data.set([...rgb, 255], index * 4));
    canvas.getContext("2d").putImageData(image, 0, 0);
    const button = el("button", { type: "button", "aria-pressed": "false", "aria-label": `Filter ${number + 1}` }, canvas);
    button.onclick = () => {
      if (state.image === EXAMPLE) return complain(new Refused("a filter of the model needs an image: choose one above"));
      setPreset(null);
      markFilter(button);
      use(one.values.map((table) => table.map((row) => [...row])), 1, true);
    };
    return button;
  }));
}

function play() {
  const stop = () => { clearInterval(timer); timer = 0; get("play").textContent = "Slide"; };
  if (timer) return stop();
  get("play").textContent = "Stop";
  timer = setInterval(() => {
    const { rows, columns } = seen.formula;
    const next = state.row * columns + state.column + 1;
    if (next >= rows * columns) return stop();
    goTo(Math.floor(next / columns), next % columns);
  }, written() ? 600 : 60);
}

function wire() {
  const step = (by) => () => {
    const next = Math.max(0, Math.min(seen.formula.rows * seen.formula.columns - 1, state.row * seen.formula.columns + state.column + by));
    goTo(Math.floor(next / seen.formula.columns), next % seen.formula.columns);
  };
  get("back").onclick = step(-1);
  get("forward").onclick = step(1);
  get("play").onclick = play;
  get("position").oninput = (event) => goTo(Math.floor(event.target.value / seen.formula.columns), event.target.value % seen.formula.columns);
  get("divisor").oninput = (event) => { if (event.target.valueAsNumber > 0) { state.divisor = event.target.valueAsNumber; slide(); } };
  const set = (name) => (value) => { state[name] = value; slide(); };
  slider(get("stepping"), "Stride", { min: 1, max: 4, value: 1, changed: set("stride") });
  slider(get("stepping"), "Padding", { min: 0, max: 5, value: 0, changed: set("padding") });
  slider(get("stepping"), "Dilation", { min: 1, max: 4, value: 1, changed: set("dilation") });
  choices(get("sides"), "Size", [[3, "3 × 3"], [5, "5 × 5"], [7, "7 × 7"]], 3, (side) => loadKernels(side).catch(complain));
  let loaded = false;
  get("model-filters").ontoggle = () => {
    if (loaded) return;
    loaded = true;
    loadFilters().catch((error) => { loaded = false; get("filters-say").textContent = error.message; });
  };
}

function choose(image) {
  state.image = image;
  get("side").replaceChildren();
  if (image !== EXAMPLE) slider(get("side"), "Shrunk to", { min: 8, max: 128, step: 8, value: state.side, show: (value) => `${value} px`, changed: (value) => { state.side = value; slide(); } });
  if (image === EXAMPLE && state.as_network) return choosePreset("vertical edge");
  // A network for grey images has filters of one channel, one for colour has three: both fit any image.
  if (known.length) slide();
}

wire();
Promise.all([pickImage(get("images"), choose, EXAMPLE), loadKernels(3)]).catch(complain);
