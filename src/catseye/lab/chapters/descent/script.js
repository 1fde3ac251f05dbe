// Chapter 9: three optimizers on a slice of a loss landscape. Heights and paths are computed by Python.

import { ask, complain, latest, ready } from "./api.js";
import { chart, short } from "./chart.js";
import { count, el, format, get, paintMap, slider, svg } from "./draw.js";
import { tries } from "./tries.js";

const RATES = [0.001, 0.003, 0.01, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5];
const KINDS = { sgd: "b", momentum: "a", adam: "rule" };
const NUM_STEPS = 60, KEY_STEP = 0.1;
const state = { lr: 0.1, along: 5, across: 1, shown: NUM_STEPS };
let land = null, paths = null, timer = 0;
const maps = {};

const drawLosses = chart(get("losses"));
const share = ([along, across]) => [(along - land.along[0]) / (land.along[1] - land.along[0]), (land.across[1] - across) / (land.across[1] - land.across[0])];

function buildMaps() {
  // Rows go down and the axis goes up; the square root of the logarithm shows both floor and walls.
  const rows = land.heights.map((row) => row.map((loss) => Math.log10(loss + 0.003))).reverse();
  get("maps").replaceChildren(...land.optimizers.map(({ name, title }) => {
    const canvas = el("canvas", { class: "slice" });
    paintMap(canvas, rows, { colours: "heat" });
    const [x, y] = share(land.first);
    const lines = svg("g", {});
    const over = svg("svg", { viewBox: "0 0 280 180", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("circle", { class: "goal", cx: 280 * share([0, 0])[0], cy: 180 * share([0, 0])[1], r: 6 }), svg("circle", { class: "goal first", cx: 280 * x, cy: 180 * y, r: 5 }), lines);
    const stage = el("div", { class: "slice-stage", tabindex: 0, role: "group", "aria-label": `${title}: loss landscape; arrow keys move the start` }, canvas, over);
    const caption = el("figcaption", { role: "status" });
    stage.onpointerdown = (event) => { stage.setPointerCapture(event.pointerId); point(event, stage); };
    stage.onpointermove = (event) => { if (event.buttons) point(event, stage); };
    stage.onkeydown = (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!step) return;
      event.preventDefault();
      start(state.along + step[0] * 4 * KEY_STEP, state.across + step[1] * KEY_STEP);
    };
    maps[name] = { lines, caption };
    return el("figure", {}, el("h3", {}, title), stage, caption);
  }));
}

function point(event, stage) {
  const box = stage.getBoundingClientRect();
  const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  start(land.along[0] + x * (land.along[1] - land.along[0]), land.across[1] - y * (land.across[1] - land.across[0]));
}

function start(along, across) {
  const within = (value, [low, high]) => Math.round(100 * Math.max(low, Math.min(high, value))) / 100;
  Object.assign(state, { along: within(along, land.along), across: within(across, land.across) });
  descend();
}

const descend = latest(() => ask("descent/paths", { lr: state.lr, along: state.along, across: state.across, steps: NUM_STEPS }), (answer) => {
  paths = answer;
  show();
  get("maps").setAttribute("aria-busy", "false");
  ready();
  observe({ ...state, paths });
});

function show() {
  for (const { name } of land.optimizers) {
    const { points, losses, left_at: left } = paths[name];
    const until = Math.min(state.shown, points.length - 1);
    const places = points.slice(0, until + 1).map((one) => share(one)).map(([x, y]) => [280 * x, 180 * y]);
    const [x, y] = places.at(-1);
    maps[name].lines.replaceChildren(svg("polyline", { class: "path", points: places.map((one) => one.map((value) => value.toFixed(1)).join(",")).join(" ") }),
      ...places.slice(1, -1).map(([a, b]) => svg("circle", { class: "stop", cx: a, cy: b, r: 2 })), svg("circle", { class: "start", cx: places[0][0], cy: places[0][1], r: 7 }), svg("circle", { class: "ball", cx: x, cy: y, r: 6 }));
    const gone = left !== null && left <= until;
    maps[name].caption.textContent = gone ? `off the map at step ${left}` : `step ${until}: loss ${short(losses[until])}`;
  }
  drawLosses({
    label: `Loss of the three optimizers at learning rate ${state.lr}`,
    lines: land.optimizers.map(({ name, title }) => ({ name: title, kind: KINDS[name], x: paths[name].losses.map((_, index) => index), y: paths[name].losses })),
    x: { label: "step", whole: true, min: 0, max: NUM_STEPS }, y: { label: "loss", log: true },
  });
  get("so").replaceChildren(...land.optimizers.map(({ name, title }) => el("p", {}, el("b", {}, `${title}: `), said(paths[name]))));
}

function said({ losses, left_at: left }) {
  if (left !== null) return `diverges and leaves the map at step ${left}.`;
  const last = losses.at(-1);
  const turns = losses.slice(1).filter((loss, index) => loss > losses[index]).length;
  return `loss ${short(losses[0])} → ${short(last)}; ${turns === 0 ? "every step went down" : `${turns} of ${losses.length - 1} steps went up`}.`;
}

function setRate(index) {
  state.lr = RATES[index];
  get("lr").value = index;
  get("lr").setAttribute("aria-valuetext", String(state.lr));
  get("lr-number").textContent = state.lr;
}

function play() {
  const input = get("steps").querySelector("input");
  const stop = () => { clearInterval(timer); timer = 0; get("play").textContent = "Play"; };
  if (timer) return stop();
  get("play").textContent = "Stop";
  let step = state.shown >= NUM_STEPS ? 0 : state.shown;
  timer = setInterval(() => {
    input.value = step;
    input.oninput();
    if (step >= NUM_STEPS) return stop();
    step += 1;
  }, 110);
}

const low = (path) => (path.left_at === null ? path.losses.at(-1) : Infinity);
const seen = { at: {} };
const observe = tries([
  {
    ask: "The rate is 0.1. Ten times smaller, at 0.01: where will plain SGD be after 60 steps?",
    options: ["higher, it crawls", "lower, it is more careful", "at the same loss"],
    how: "Set the learning rate to 0.1, then to 0.01, from the same start.",
    seen: ({ lr, along, across, paths: now }) => {
      seen.at[`${lr} ${along} ${across}`] = now.sgd.losses.at(-1);
      const [small, large] = [0.01, 0.1].map((rate) => seen.at[`${rate} ${along} ${across}`]);
      if (lr !== 0.01 || large === undefined) return null;
      return { right: small > 1.05 * large ? "higher, it crawls" : small < 0.95 * large ? "lower, it is more careful" : "at the same loss", says: `After 60 steps the loss is ${short(small)} at 0.01 and ${short(large)} at 0.1. A small rate is safe across the valley and slow along it.` };
    },
  },
  {
    ask: "And ten times larger, at 1?",
    options: ["it arrives sooner", "it is thrown off the map"],
    how: "Set the learning rate to 1 with the start on the wall of the valley.",
    seen: ({ lr, paths: now }) => (lr !== 1 ? null : now.sgd.left_at !== null
      ? { right: "it is thrown off the map", says: `At step ${now.sgd.left_at}. Across the valley the curvature of the loss is ${format(land.curvature, 1)}; on a parabola of that curvature steps grow as soon as the rate is above 2 / ${format(land.curvature, 1)} = ${format(2 / land.curvature, 2)}.` }
      : { right: "it arrives sooner", says: `From this start it stays on the map, with a loss of ${short(now.sgd.losses.at(-1))}.` }),
  },
  {
    ask: "At the small rate 0.01, which of the three gets lowest in 60 steps?",
    options: ["SGD", "SGD with momentum 0.9", "Adam"],
    how: "Set the learning rate to 0.01.",
    seen: ({ lr, paths: now }) => {
      if (lr !== 0.01) return null;
      const best = land.optimizers.reduce((a, b) => (low(now[b.name]) < low(now[a.name]) ? b : a));
      return { right: best.title, says: land.optimizers.map(({ name, title }) => `${title}: ${short(now[name].losses.at(-1))}`).join("; ") + ". Along the floor the steps of momentum add up." };
    },
  },
]);

get("lr").max = RATES.length - 1;
get("lr").oninput = () => { setRate(get("lr").valueAsNumber); if (land) descend(); };
setRate(RATES.indexOf(state.lr));
slider(get("steps"), "Step", { min: 0, max: NUM_STEPS, value: NUM_STEPS, changed: (value) => { state.shown = value; if (paths) show(); } });
get("play").onclick = () => { if (paths) play(); };
ask("descent/landscape").then((found) => {
  land = found;
  buildMaps();
  get("about").textContent = `A network with ${count(found.num_parameters)} weights and biases, trained on ${count(found.num_images)} handwritten digits; two directions of its ${count(found.num_parameters)}. The ring is the trained network, the small dot its first weights, the large dot your start.`;
  get("real").textContent = `Every height is the cross-entropy of that network on those digits, with its weights moved along the two directions; every path is made by the optimizers of catseye train, with gradients by autograd. The directions have length 1, so a learning rate means what it means in training. Half way, the loss bends across the valley with ${format(found.curvature, 1)}, which lets plain SGD go up to a rate of about 2 / ${format(found.curvature, 1)} = ${format(2 / found.curvature, 2)}. A real training moves in all ${count(found.num_parameters)} directions at once, and takes another batch at every step.`;
  descend();
}).catch((error) => { complain(error); get("about").textContent = error.message; ready(); });
