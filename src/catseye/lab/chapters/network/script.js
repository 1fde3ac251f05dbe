// Chapter 4: the flow of a network, a layer's maps, one activation's region, the decision and its map.

import { ask, complain, latest, ready } from "./api.js";
import { choices, count, el, facts, format, get, paintMap, slider, svg } from "./draw.js";
import { pickImage } from "./images.js";
import { tries } from "./tries.js";

const state = { image: null, network: "given", layer: null, channel: 0, row: 0, column: 0, method: "gradcam", target: null, strength: 0.6 };
let flow = null;
let map = null; // the last answer of ask("network/maps")
let takeImage = null; // puts a file on the bench
let wanted = null; // the place of a chosen patch, for the maps of its image

const asked = (more = {}) => ({ network: state.network, image: state.image.name, ...more });
const shapeText = (shape) => shape.join(" × ");

// A late answer for a network, an image or a layer that is no longer selected is not shown.
const ofImage = () => `${state.network} ${state.image?.name}`;
const ofLayer = () => `${ofImage()} ${state.layer}`;
const current = (work, show, stamp = ofImage) => latest(async () => { const at = stamp(); return { at, answer: await work() }; }, ({ at, answer }) => { if (at === stamp()) show(answer); });
const PARTS = ["totals", "flow", "maps", "field", "place-facts", "patches", "bars", "cam"];

/** While a network is built: the page is cleared and says what it is waiting for. */
function wait(text) {
  get("busy").textContent = text;
  get("busy").hidden = !text;
  get("says").hidden = Boolean(text) || (flow?.trained ?? true);
  for (const id of PARTS) {
    get(id).setAttribute("aria-busy", String(Boolean(text)));
    if (text) get(id).replaceChildren();
  }
  if (!text) return;
  get("part").removeAttribute("src");
  for (const id of ["layer", "maps-say", "patches-say", "decision-say", "cam-class", "cam-say"]) get(id).textContent = "";
}

const FEW = 16;
const QUICK_MACS = 2e7; // up to here 512 images take about a second

/** Layers to draw: each separately, or a run of equal shapes as one, represented by its last layer. */
function shownRuns() {
  if (get("all").checked || flow.layers.length <= FEW) return flow.layers.map((layer) => [layer]);
  const runs = [];
  for (const layer of flow.layers) {
    const before = runs.at(-1);
    if (before && shapeText(before[0].shape) === shapeText(layer.shape)) before.push(layer);
    else runs.push([layer]);
  }
  return runs;
}

function slab(layer, largest) {
  const flat = layer.shape.length < 3;
  const tall = flat ? 0 : Math.max(8, 96 * Math.sqrt(layer.shape[1] / largest));
  const wide = Math.max(5, Math.min(60, 4.5 * Math.sqrt(layer.shape[0])));
  const [w, h] = flat ? [9, Math.max(14, Math.min(96, 9 * Math.log2(layer.shape[0] + 1)))] : [wide, tall];
  const lean = flat ? 0 : h * 0.28;
  const [W, H] = [w + lean, h + lean];
  return svg("svg", { width: W + 2, height: H + 2, viewBox: `-1 -1 ${W + 2} ${H + 2}`, "aria-hidden": "true" },
    lean ? svg("path", { class: "top", d: `M0 ${lean} L${lean} 0 H${W} L${w} ${lean} Z` }) : null,
    lean ? svg("path", { class: "side", d: `M${w} ${lean} L${W} 0 V${h} L${w} ${H} Z` }) : null,
    svg("rect", { class: "front", x: 0, y: lean, width: w, height: h }));
}

function showFlow() {
  const runs = shownRuns();
  const largest = Math.max(flow.input[1], ...flow.layers.map((layer) => layer.shape[1] ?? 0));
  const step = (run) => {
    const last = run.at(-1);
    const kinds = run.length > 1 ? `${run[0].kind} … ${last.kind}` : last.kind;
    const button = el("button", { type: "button", class: "layer", "data-layer": last.name, "aria-label": `${kinds}, ${last.name}, ${shapeText(last.shape)}` },
      slab(last, largest), el("b", {}, kinds), run.length > 1 ? el("span", {}, `${run.length} layers`) : null, el("span", { class: "mono" }, shapeText(last.shape)));
    button.onclick = () => choose(last.name);
    return button;
  };
  const input = el("div", { class: "layer input" }, slab({ shape: flow.input }, largest), el("b", {}, "input"), el("span", { class: "mono" }, shapeText(flow.input)));
  get("flow").replaceChildren(input, ...runs.map(step));
  markLayer();
  get("all-text").textContent = `every one of the ${flow.layers.length} layers`;
  get("all").parentElement.hidden = flow.layers.length <= FEW;
}

function markLayer() {
  for (const button of get("flow").querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.layer === state.layer));
}

function choose(layer) {
  Object.assign(state, { layer, channel: -1 });
  markLayer();
  for (const id of ["field", "place-facts", "patches"]) get(id).replaceChildren();
  get("part").removeAttribute("src");
  loadMaps();
}

const loadFlow = () => {
  flow = null;
  wait(`Building ${get("network").selectedOptions[0]?.textContent ?? "the network"} …`);
  return showFlowOf();
};
const showFlowOf = current(() => ask("network/flow", { network: state.network }).catch((error) => { wait(""); throw error; }), (seen) => {
  flow = seen;
  wait("");
  const select = get("network");
  select.replaceChildren(...seen.choices.map((one) => el("option", { value: one.value, selected: one.value === state.network }, one.title)));
  get("says").textContent = seen.says;
  get("says").hidden = seen.trained;
  facts(get("totals"), [
    ["network", seen.network, seen.trained ? "trained" : "fresh weights"],
    ["input", shapeText(seen.input)],
    ["parameters", count(seen.num_parameters)],
    ["multiply-adds", count(seen.num_macs)],
    ["layers", count(seen.layers.length)],
  ]);
  choices(get("methods"), "Method", seen.methods.map((one) => [one, one]), state.method, (method) => { state.method = method; loadCam(); });
  const runs = shownRuns().map((run) => run.at(-1));
  const first = runs.find((layer) => layer.shape.length === 3 && /ReLU|GELU|SiLU|Tanh/i.test(layer.kind)) ?? runs[0];
  state.target = null;
  Object.assign(state, { layer: first.name, channel: -1 });
  showFlow();
  loadMaps();
  loadDecision();
});

const loadMaps = current(() => ask("network/maps", asked({ layer: state.layer })), (seen) => {
  map = seen;
  const line = flow.layers.find((layer) => layer.name === seen.layer);
  get("layer").textContent = seen.layer;
  const shownNumber = seen.maps.length;
  get("maps-say").textContent = `${line.kind}, ${shapeText(seen.shape)}; the ${shownNumber} strongest of ${count(seen.shape[0])} channels, by mean |value|${seen.silent ? `; ${count(seen.silent)} are silent` : ""}. Each on its own scale.`;
  if (!seen.maps.some((one) => one.channel === state.channel)) state.channel = seen.maps[0].channel;
  const strongest = seen.maps.find((one) => one.channel === state.channel);
  // The largest value of the strongest map.
  const flat = strongest.values.flat();
  const loudest = flat.indexOf(Math.max(...flat));
  state.row = Math.floor(loudest / strongest.values[0].length);
  state.column = loudest % strongest.values[0].length;
  if (wanted) Object.assign(state, wanted);
  wanted = null;
  get("maps").replaceChildren(...seen.maps.map(mapFigure));
  mark();
  forgetPatches();
  loadPlace();
  observe({ strongest: seen.maps[0].channel });
}, ofLayer);

function mapFigure(one) {
  const canvas = el("canvas", { class: "pixels", role: "img", "aria-label": `map of channel ${one.channel}` });
  paintMap(canvas, one.values, { colours: one.lowest < 0 ? "signed" : "heat" });
  const [rows, columns] = [one.values.length, one.values[0].length];
  const spot = el("span", { class: "spot" });
  const button = el("button", { type: "button", class: "map", "data-channel": one.channel, "aria-label": `Channel ${one.channel}, mean ${format(one.strength, 3)}` }, canvas, spot);
  const pick = (row, column) => {
    if (map.layer !== state.layer) return; // the maps of the selected layer have not arrived yet
    const changed = state.channel !== one.channel;
    Object.assign(state, { channel: one.channel, row: Math.max(0, Math.min(rows - 1, row)), column: Math.max(0, Math.min(columns - 1, column)) });
    mark();
    if (changed) forgetPatches();
    loadPlace();
  };
  button.onclick = (event) => {
    if (!event.detail) return pick(state.channel === one.channel ? state.row : Math.floor(rows / 2), state.channel === one.channel ? state.column : Math.floor(columns / 2));
    const box = canvas.getBoundingClientRect();
    pick(Math.floor(((event.clientY - box.top) / box.height) * rows), Math.floor(((event.clientX - box.left) / box.width) * columns));
  };
  button.onkeydown = (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step || state.channel !== one.channel) return;
    event.preventDefault();
    pick(state.row + step[0], state.column + step[1]);
  };
  return el("figure", {}, button, el("figcaption", {}, el("b", {}, `#${one.channel}`), ` mean ${format(one.strength, 3)}`, el("br"), `${format(one.lowest)} … ${format(one.highest)}`));
}

/** Mark the selected map and place, without redrawing the others. */
function mark() {
  for (const button of get("maps").querySelectorAll(".map")) {
    const mine = Number(button.dataset.channel) === state.channel;
    button.setAttribute("aria-pressed", String(mine));
    const spot = button.querySelector(".spot");
    spot.hidden = !mine;
    const [rows, columns] = [map.maps[0].values.length, map.maps[0].values[0].length];
    Object.assign(spot.style, { left: `${(100 * state.column) / columns}%`, top: `${(100 * state.row) / rows}%`, width: `${100 / columns}%`, height: `${100 / rows}%` });
  }
}

const loadPlace = current(() => ask("network/place", asked({ layer: state.layer, channel: state.channel, row: state.row, column: state.column })), (seen) => {
  const [height, width] = [seen.gradient.length, seen.gradient[0].length];
  const { top, left, bottom, right, span } = seen.box;
  const heat = el("canvas", { class: "pixels heat", role: "img", "aria-label": "where the activation looks" });
  overlay(heat, seen.gradient, 0.75);
  const box = el("span", { class: "window" });
  Object.assign(box.style, { top: `${(100 * top) / height}%`, left: `${(100 * left) / width}%`, width: `${(100 * (right - left)) / width}%`, height: `${(100 * (bottom - top)) / height}%` });
  get("field").replaceChildren(el("img", { src: seen.image, class: "pixels", alt: "the image as the network gets it" }), heat, box);
  get("part").src = seen.part;
  const value = map.maps.find((one) => one.channel === state.channel).values[state.row][state.column];
  facts(get("place-facts"), [
    ["activation", format(value, 3), `channel ${state.channel}, (${state.row}, ${state.column})`],
    ["can see", span ? `${span} × ${span} px` : "everything", `${format(100 * seen.share_of_pixels, 1)}% of the image`],
    ["half of its gradient lies in", `${format(seen.half_px, 0)} × ${format(seen.half_px, 0)} px`, "about the middle of that region"],
  ]);
  observe({ span: span ?? Infinity });
}, ofLayer);

/** Heat over an image: the hotter, the less of the image shows. */
function overlay(canvas, rows, strength) {
  paintMap(canvas, rows, { colours: "heat", low: 0, high: 1 });
  const pen = canvas.getContext("2d");
  const image = pen.getImageData(0, 0, canvas.width, canvas.height);
  rows.flat().forEach((value, index) => { image.data[index * 4 + 3] = 255 * strength * (0.25 + 0.75 * value); });
  pen.putImageData(image, 0, 0);
}

const loadDecision = current(() => ask("network/decision", asked()), (seen) => {
  get("bars").replaceChildren(...seen.bars.map((one) => {
    const name = el("button", { type: "button", class: "plain", "aria-label": `Where it sees ${one.name}` }, one.name);
    name.onclick = () => { state.target = one.index; loadCam(); };
    return el("li", {}, name, el("span", { class: "track" }, el("span", { class: "fill", vars: { width: `${100 * one.share}%` } })), el("span", { class: "value" }, `${format(100 * one.share, 1)}%`));
  }));
  const best = seen.bars[0];
  get("decision-say").textContent = `Softmax over ${seen.num_classes} logits${seen.temperature !== 1 ? ` divided by the temperature ${format(seen.temperature, 3)}` : ""}; the highest is ${format(best.logit)} for ${best.name}. Choose a class to see what supports it.`;
  loadCam();
});

let heat = null;
const loadCam = current(() => ask("network/overlay", asked({ method: state.method, target: state.target })), (seen) => {
  heat = { rows: seen.heat, canvas: el("canvas", { class: "heat", role: "img", "aria-label": `where it sees ${seen.class}` }) };
  get("cam-class").textContent = seen.class;
  get("cam").replaceChildren(el("img", { src: seen.image, class: "pixels", alt: "the image as the network gets it" }), heat.canvas);
  get("cam-say").textContent = "From dark (0) to yellow (1), on the scale of this map.";
  paintCam();
  ready();
});

function paintCam() {
  if (heat) overlay(heat.canvas, heat.rows, state.strength);
}

let find = () => {};
/** Patches of the selected channel: at once if the network is small, else on request. */
function forgetPatches() {
  get("patches").replaceChildren();
  get("patches-say").textContent = `Not searched yet for channel ${state.channel}.`;
  if (flow.num_macs < QUICK_MACS) find();
}

const jump = (text, find) => el("button", { type: "button", class: "link", onclick: () => { const target = find(); target?.scrollIntoView({ block: "center" }); target?.focus({ preventScroll: true }); } }, text);
const toLayer = (name) => jump(name, () => get("flow").querySelector("[aria-pressed=true]"));
const toMap = (text) => jump(text, () => get("maps").querySelector(".map[aria-pressed=true]"));

/** From a patch to the maps: its whole image on the bench, the same channel, the same place. */
async function show(patch) {
  const [head, content] = patch.image.split(",");
  const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
  wanted = { row: patch.row, column: patch.column };
  await takeImage([new File([bytes], "patch.png", { type: head.slice(5, head.indexOf(";")) })]);
  get("maps-title").scrollIntoView({ block: "start" });
}

const spans = {}, strongestOf = {};
const observe = tries([
  {
    ask: "One number of the first layer, and one of a later layer: which depends on more of the image?",
    options: ["the first layer’s", "the later one’s", "both on as much"],
    how: "Click the first layer in the flow, click into one of its maps, then do the same with the last layer that has maps.",
    seen: ({ span }) => {
      if (span === undefined) return null;
      const withMaps = flow.layers.filter((layer) => layer.shape.length === 3 && layer.shape[1] > 1);
      const at = withMaps.findIndex((layer) => layer.name === state.layer);
      if (at < 0) return null;
      (spans[flow.network] ??= {})[at] = span;
      const known = Object.keys(spans[flow.network]).map(Number);
      const later = Math.max(...known);
      if (!known.includes(0) || later < 2) return null;
      const [first, last] = [spans[flow.network][0], spans[flow.network][later]];
      const words = (one) => (Number.isFinite(one) ? `${one} × ${one} px` : "everything");
      return { right: last > first ? "the later one’s" : last < first ? "the first layer’s" : "both on as much", says: `${words(first)} at ${withMaps[0].name}, ${words(last)} at ${withMaps[later].name}: each window covers windows of the layer before.` };
    },
  },
  {
    ask: "The same layer with another image: will the same channel be the strongest?",
    options: ["the same channel", "another one"],
    how: "Choose another image above, and compare the first map.",
    seen: ({ strongest }) => {
      if (strongest === undefined) return null;
      const key = `${flow.network} ${state.layer}`;
      const before = strongestOf[key];
      strongestOf[key] = { image: state.image.name, title: state.image.title, channel: strongest };
      if (!before || before.image === state.image.name) return null;
      return { right: before.channel === strongest ? "the same channel" : "another one", says: `#${before.channel} for “${before.title}”, #${strongest} for “${state.image.title}”: a channel is active where it finds what it has learned.` };
    },
  },
  {
    ask: "In alexnet, which layers hold most of the parameters?",
    options: ["the convolutions", "the dense layers"],
    how: "Choose alexnet as the network (its weights take about 230 MB of memory).",
    seen: () => {
      if (!flow || flow.network !== "alexnet") return null;
      const all = (kind) => flow.layers.filter((layer) => layer.kind.startsWith(kind)).reduce((sum, layer) => sum + layer.parameters, 0);
      const [convolutions, dense] = [all("Conv"), all("Linear")];
      return { right: dense > convolutions ? "the dense layers" : "the convolutions", says: `${count(dense)} in the dense layers, ${count(convolutions)} in the convolutions.` };
    },
  },
]);

async function start() {
  get("network").onchange = (event) => { state.network = event.target.value; loadFlow(); };
  get("all").onchange = showFlow;
  slider(get("strength"), "Strength of the map", { min: 0, max: 1, step: 0.05, value: state.strength, changed: (value) => { state.strength = value; paintCam(); } });
  find = latest(
    () => { get("find").disabled = true; return ask("network/patches", { network: state.network, layer: state.layer, channel: state.channel }).finally(() => { get("find").disabled = false; }); },
    (seen) => {
      get("patches-say").replaceChildren(toMap(`Channel ${state.channel}`), " of ", toLayer(state.layer), `: its highest values in ${count(seen.num_images)} images of ${seen.source}.`);
      get("patches").replaceChildren(...seen.patches.map((one) => el("figure", {}, el("button", { type: "button", class: "patch", "aria-label": `Show the image of ${one.label} and this channel’s map of it`, onclick: () => show(one) }, el("img", { src: one.part, class: "pixels", alt: "" })), el("figcaption", {}, one.label, el("br"), el("b", {}, format(one.value, 2))))));
    },
  );
  get("find").onclick = () => find();
  get("layer").onclick = () => { const target = get("flow").querySelector("[aria-pressed=true]"); target?.scrollIntoView({ block: "center" }); target?.focus({ preventScroll: true }); };
  takeImage = await pickImage(get("images"), (image) => {
    state.image = image;
    if (flow) { loadMaps(); loadDecision(); } else loadFlow();
  });
}

start().catch(complain);
