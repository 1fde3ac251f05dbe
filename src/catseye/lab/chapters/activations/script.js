// Chapter 3: a channel normalised, activated and shrunk; the curves; a grid pooled.

import { ask, complain, latest, ready } from "./api.js";
import { choices, editableGrid, el, facts, format, get, grid, paintMap, slider, svg } from "./draw.js";
import { pickImage } from "./images.js";
import { tries } from "./tries.js";

const state = { image: null, kernel: "vertical edge", lift: 0, spread: 1, normalise: true, gamma: 1, beta: 0, activation: "ReLU" };
const pooling = { grid: null, window: 2, stride: 2 };
let x = 1;

const round = (value) => format(Math.round(value * 100) / 100);
const STEPS = [
  ["image", "image", "grey"],
  ["convolved", "convolved", "signed"],
  ["normalised", "normalised", "signed"],
  ["bent", "", "signed"],
  ["shrunk", "max-pooled 2 × 2", "signed"],
];

/** What happens to the shaded half, under each activation. */
const CUT = {
  ReLU: "The shaded half, below 0, is cut off by ReLU.",
  LeakyReLU: "LeakyReLU keeps a hundredth of the shaded half, below 0.",
  GELU: "GELU pushes the shaded half, below 0, towards 0: nothing is left of large negative values, a little of small ones.",
  Swish: "Swish pushes the shaded half, below 0, towards 0, more gently than GELU.",
};

const steps = latest(() => ask("activations/steps", { ...state, image: state.image.name }), (seen) => {
  get("chain").replaceChildren(...STEPS.flatMap(([key, title, colours], index) => {
    const rows = seen.maps[key];
    const canvas = el("canvas", { class: "pixels", role: "img", "aria-label": title || state.activation });
    paintMap(canvas, rows, { colours });
    const flat = rows.flat();
    const name = key === "normalised" && !state.normalise ? "not normalised" : title || state.activation;
    const figure = el("figure", { class: key === "shrunk" ? "half" : null }, el("div", { class: "frame" }, canvas),
      el("figcaption", {}, el("b", {}, name), el("br"), `${rows.length} × ${rows[0].length}, ${format(Math.min(...flat))} … ${format(Math.max(...flat))}`));
    return index ? [el("span", { class: "arrow", "aria-hidden": "true" }, "→"), figure] : [figure];
  }));
  histogram(seen);
  get("cut-says").textContent = CUT[state.activation];
  facts(get("norm-facts"), [
    ["mean", `${round(seen.mean)} → ${round(seen.mean_after)}`],
    ["standard deviation", `${round(seen.sd)} → ${round(seen.sd_after)}`],
    ["values that still learn", `${format(100 * seen.alive, 1)}%`, "derivative above 0.01", true],
  ]);
  observe({ alive: seen.alive });
  ready();
});

/** Both distributions on one axis, the negative half shaded. */
function histogram({ edges, counts, counts_after: after }) {
  const [width, height] = [420, 150];
  const place = (value) => ((value - edges[0]) / (edges.at(-1) - edges[0])) * width;
  const highest = Math.sqrt(Math.max(...counts, ...after));
  // The square root of the counts: plain areas would otherwise hide everything else.
  const bars = (values, name) => values.map((value, index) => {
    const tall = (Math.sqrt(value) / highest) * (height - 26);
    return svg("rect", { class: name, x: place(edges[index]), y: height - 20 - tall, width: Math.max(1, place(edges[index + 1]) - place(edges[index]) - 0.6), height: tall });
  });
  const ticks = [edges[0], 0, edges.at(-1)].map((value, index) => svg("text", { x: place(value), y: height - 5, "text-anchor": ["start", "middle", "end"][index] }, format(value, 1)));
  get("spread").replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "How often each value occurs, before and after" },
    svg("rect", { class: "cut", x: 0, y: 0, width: Math.max(0, place(0)), height: height - 20 }), ...bars(after, "after"), ...bars(counts, "before"), ...ticks));
}

const curve = latest(() => ask("activations/curve", { name: state.activation, x }), (seen) => {
  get("curve-name").textContent = state.activation;
  get("curve-formula").textContent = seen.formula;
  get("curve-says").textContent = seen.says;
  plot(seen);
  get("table").replaceChildren(el("div", { class: "scroll" }, el("table", { class: "plain" },
    el("thead", {}, el("tr", {}, el("th", {}, `at x = ${format(x)}`), el("th", { class: "num" }, "value"), el("th", { class: "num" }, "derivative"))),
    el("tbody", {}, ...seen.table.map((row) => el("tr", { class: row.name === state.activation ? "chosen" : null }, el("th", { scope: "row" }, row.name), el("td", { class: "num" }, format(row.value, 4)), el("td", { class: "num" }, format(row.slope, 4))))))));
  observe({ slopes: seen.table });
  get("before").replaceChildren(grid(seen.before));
  get("after").replaceChildren(grid(seen.after));
});

function plot(seen) {
  const [width, height, low, high] = [520, 340, -1.5, 5.2];
  const px = (value) => ((value + 5) / 10) * width;
  const py = (value) => height - ((value - low) / (high - low)) * height;
  const path = (values) => seen.x.map((one, index) => `${index && Math.abs(values[index] - values[index - 1]) < 0.5 ? "L" : "M"}${px(one).toFixed(1)} ${py(values[index]).toFixed(1)}`).join("");
  const marks = [-4, -2, 2, 4].flatMap((one) => [
    svg("text", { x: px(one), y: py(0) + 16, "text-anchor": "middle" }, format(one)),
    one > 0 ? svg("text", { x: px(0) - 7, y: py(one) + 4, "text-anchor": "end" }, format(one)) : null,
  ]);
  get("plot").replaceChildren(svg("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${state.activation} and its derivative from −5 to 5` },
    svg("line", { class: "axis", x1: 0, x2: width, y1: py(0), y2: py(0) }), svg("line", { class: "axis", x1: px(0), x2: px(0), y1: 0, y2: height }), ...marks.filter(Boolean),
    svg("path", { class: "slope", d: path(seen.slope) }), svg("path", { class: "value", d: path(seen.y) }),
    svg("line", { class: "here", x1: px(x), x2: px(x), y1: py(0), y2: py(seen.value_here) }),
    svg("circle", { class: "slope-dot", cx: px(x), cy: py(seen.slope_here), r: 5 }), svg("circle", { class: "value-dot", cx: px(x), cy: py(seen.value_here), r: 6 })));
}

const pool = latest(() => ask("activations/pool", pooling), (seen) => {
  if (!pooling.grid) {
    pooling.grid = seen.grid;
    get("grid").replaceChildren(editableGrid(seen.grid, { label: "grid", changed: (rows) => { pooling.grid = rows; pool(); } }));
  }
  const cells = get("grid").querySelectorAll("td");
  cells.forEach((td) => td.classList.remove("here"));
  for (const [row, column] of seen.places.flat()) cells[row * 4 + column].classList.add("here");
  observe({ pooled: seen.max });
  get("max").replaceChildren(grid(seen.max));
  get("average").replaceChildren(grid(seen.average));
  get("global").replaceChildren(grid([[seen.global]]));
});

const learning = { usual: null, drifted: null };
const share = (value) => `${format(100 * value, 1)}%`;
const observe = tries([
  {
    ask: "All values are 3 lower, without batch normalisation, and pass a ReLU: how many values still learn?",
    options: ["about as many", "fewer", "more"],
    how: "Choose ReLU, look at “values that still learn”; then switch batch normalisation off and set “Added to them” to −3 or less.",
    seen: ({ alive }) => {
      if (alive === undefined || state.activation !== "ReLU") return null;
      if (state.normalise && state.lift === 0) learning.usual = alive;
      if (state.normalise || state.lift > -3 || learning.usual === null) return null;
      learning.drifted = alive;
      const change = alive - learning.usual;
      return { right: change < -0.02 ? "fewer" : change > 0.02 ? "more" : "about as many", says: `${share(learning.usual)} before, ${share(alive)} now: values below 0 get no gradient.` };
    },
  },
  {
    ask: "Now with batch normalisation switched on again, and the values still 3 lower?",
    options: ["as many as before the shift", "still as few"],
    how: "Do the first one, then switch batch normalisation on again.",
    seen: ({ alive }) => {
      if (alive === undefined || learning.drifted === null || !state.normalise || state.lift > -3) return null;
      return { right: Math.abs(alive - learning.usual) < 0.02 ? "as many as before the shift" : "still as few", says: `${share(alive)}: it subtracts the mean, which removes a shift of all values.` };
    },
  },
  {
    ask: "At x = −2, which activation passes the largest gradient, whatever its sign?",
    options: ["ReLU", "LeakyReLU", "GELU", "Swish"],
    how: "Set x to −2 and compare the derivatives.",
    seen: ({ slopes }) => {
      if (!slopes || x !== -2) return null;
      const most = slopes.reduce((a, b) => (Math.abs(b.slope) > Math.abs(a.slope) ? b : a));
      return { right: most.name, says: slopes.map(({ name, slope }) => `${name} ${format(slope, 4)}`).join(", ") + "." };
    },
  },
  {
    ask: "A window of 3 × 3 with stride 1 on the grid of 4 × 4: how large is the result?",
    options: ["1 × 1", "2 × 2", "3 × 3"],
    how: "Set Window to 3 and Stride to 1.",
    seen: ({ pooled }) => (!pooled || pooling.window !== 3 || pooling.stride !== 1 ? null : { right: `${pooled.length} × ${pooled[0].length}`, says: "The same formula as for a convolution: ⌊(4 − 3) / 1⌋ + 1 = 2." }),
  },
]);

async function start() {
  const names = (await ask("activations/curve", {})).names;
  const kernels = (await ask("convolution/kernels", {})).kernels.map((one) => one.name);
  choices(get("names"), "Activation", names.map((one) => [one, one]), state.activation, (name) => { state.activation = name; steps(); curve(); });
  choices(get("kernels"), "Convolved with", kernels.slice(0, 4).map((one) => [one, one]), state.kernel, (name) => { state.kernel = name; steps(); });
  const set = (name) => (value) => { state[name] = value; steps(); };
  slider(get("drift"), "Values multiplied by", { min: 0.1, max: 5, step: 0.1, value: 1, changed: set("spread") });
  slider(get("drift"), "Added to them", { min: -5, max: 5, step: 0.1, value: 0, changed: set("lift") });
  slider(get("norm"), "γ, its scale", { min: -3, max: 3, step: 0.1, value: 1, changed: set("gamma") });
  slider(get("norm"), "β, its shift", { min: -3, max: 3, step: 0.1, value: 0, changed: set("beta") });
  get("normalise").onchange = (event) => { state.normalise = event.target.checked; steps(); };
  slider(get("x"), "x", { min: -5, max: 5, step: 0.05, value: x, changed: (value) => { x = value; curve(); } });
  const setPool = (name) => (value) => { pooling[name] = value; pool(); };
  slider(get("pool-controls"), "Window", { min: 1, max: 4, value: 2, show: (value) => `${value} × ${value}`, changed: setPool("window") });
  slider(get("pool-controls"), "Stride", { min: 1, max: 4, value: 2, changed: setPool("stride") });
  curve();
  pool();
  await pickImage(get("images"), (image) => { state.image = image; steps(); });
}

start().catch(complain);
