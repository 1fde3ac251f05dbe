// Chapter 5: the depth is the control; both networks are measured again at every change.

import { ask, complain, latest, ready } from "./api.js";
import { chart, power, short } from "./chart.js";
import { choices, facts, get, slider } from "./draw.js";
import { drawBlock } from "./blocks.js";
import { tries } from "./tries.js";

const state = { depth: 50, norm: false, initialisation: "pytorch", steps: 20, when: "start", what: "signal" };
const depth = get("depth");
const drawFlow = chart(get("flow"));
const drawLosses = chart(get("losses"));
let found = null;

const question = (steps) => ({ depth: state.depth, norm: state.norm, initialisation: state.initialisation, steps });

// First before training: two passes, fast. Then the training steps, which take longer.
const start = latest(() => ask("skips/measure", question(0)), (answer) => { found = answer; show(); ready(); observe(); });
const whole = latest(() => ask("skips/measure", question(state.steps)), (answer) => { found = answer; show(); });
// Without normalisation neither learns in so few steps, so the losses are compared with it, as in the paper.
const race = latest(() => ask("skips/measure", { ...question(state.steps), norm: true }), (answer) => { learned(answer); say("Measured."); });
let waiting = 0;

function measure() {
  clearTimeout(waiting);
  say(`Measuring two networks of ${state.depth} layers …`);
  get("command").textContent = `catseye explain gradient-flow --depth ${state.depth}${state.norm ? " --norm" : ""}${state.initialisation === "pytorch" ? "" : ` --init ${state.initialisation}`}${state.steps === 20 ? "" : ` --steps ${state.steps}`} --out gradient-flow`;
  return new Promise((done) => {
    waiting = setTimeout(async () => {
      await start();
      if (state.steps) {
        await whole();
        await race();
      } else say("Measured.");
      done();
    }, 120);
  });
}

const say = (text) => { get("state").textContent = text; };

function show() {
  const trained = found.plain.after !== null;
  const when = trained ? state.when : "start";
  const line = (kind, name, network) => {
    const values = network[when][state.what];
    const last = values.at(-1) || 1;
    return { name, kind, x: values.map((_, index) => index + 1), y: values.map((value) => value / last) };
  };
  const layers = found.plain.start.signal.length;
  const rule = Array.from({ length: layers }, (_, index) => found.factor ** (layers - 1 - index));
  drawFlow({
    label: `Gradient norm by layer, ${when === "start" ? "before training" : `after ${found.num_steps} steps`}: without skips the first layer gets ${short(found.plain[when].share)} of the last, with skips ${short(found.residual[when].share)}`,
    lines: [
      line("b", "without skips", found.plain),
      line("a", "with skips", found.residual),
      { name: "× 0.8 at every layer", kind: "rule", x: rule.map((_, index) => index + 1), y: rule },
    ],
    x: { label: "layer", whole: true, min: 1, max: layers },
    y: { label: "gradient, last layer = 1", log: true },
  });
  const [plain, residual] = [found.plain[when], found.residual[when]];
  facts(get("numbers"), [
    ["textbook: × 0.8 at every layer", short(found.arithmetic), `0.8 to the power of ${found.depth - 1}`],
    ["measured without skips", short(plain.share), `× ${short(plain.per_layer, 3)} at every layer`, true],
    ["measured with skips", short(residual.share), `× ${short(residual.per_layer, 3)} at every layer`, true],
  ]);
  get("verdict").textContent = verdict(plain.share, residual.share);
  get("says").textContent = `Initial weights: ${found.says}.`;
}

/** The losses of both networks, step by step. */
function learned({ plain, residual }) {
  const line = (name, kind, losses) => ({ name, kind, x: losses.map((_, index) => index + 1), y: losses });
  drawLosses({
    label: `Loss at every step: at the end ${short(plain.losses.at(-1))} without skips, ${short(residual.losses.at(-1))} with skips`,
    lines: [line("without skips", "b", plain.losses), line("with skips", "a", residual.losses)],
    x: { label: "step", whole: true },
    y: { label: "loss", min: 0 },
    marks: [{ y: Math.log(10), name: "guessing" }],
  });
}

/** The two shares in words. */
function verdict(plain, residual) {
  const words = (share) => {
    if (share < 1e-3) return `${short(share)} of the gradient at the last convolution arrives at the first: almost nothing`;
    if (share > 1e3) return `the gradient grows ${short(share)} times on its way to the first layer: it explodes`;
    return `${short(share)} times the gradient at the last convolution arrives at the first: it gets through`;
  };
  return `Without skips, at ${found.depth} layers, ${words(plain)}. With skips, ${words(residual)}.`;
}

const deep = {};
const observe = tries([
  {
    ask: "With 10 layers instead of 50: how much of the gradient arrives at the first layer of the plain network?",
    options: ["a larger share", "a smaller share", "the same share"],
    how: "Look at 50 layers without batch normalisation, then turn the depth to 10.",
    seen: () => {
      if (state.norm) return null;
      const key = state.initialisation;
      deep[`${key} ${found.depth}`] = found.plain.start.share;
      const [at10, at50] = [deep[`${key} 10`], deep[`${key} 50`]];
      if (found.depth !== 10 || at50 === undefined) return null;
      return { right: at10 > 2 * at50 ? "a larger share" : at10 < at50 / 2 ? "a smaller share" : "the same share", says: `${short(at10)} of it at 10 layers, ${short(at50)} at 50: the factor of one layer is multiplied once per layer.` };
    },
  },
  {
    ask: "With batch normalisation, at 50 layers: does the plain network still lose its gradient?",
    options: ["yes, less than a hundredth arrives", "no, a hundredth or more arrives"],
    how: "At 50 layers, switch batch normalisation to “with”.",
    seen: () => (!state.norm || found.depth !== 50 ? null : { right: found.plain.start.share < 0.01 ? "yes, less than a hundredth arrives" : "no, a hundredth or more arrives", says: `${short(found.plain.start.share)} of it arrives without skips, ${short(found.residual.start.share)} with. Every layer is rescaled; see above which of the two learns.` }),
  },
]);

depth.oninput = () => {
  state.depth = depth.valueAsNumber;
  get("depth-number").textContent = state.depth;
  measure();
};
choices(get("when"), "When", [["start", "before training"], ["after", "after the steps"]], state.when, (value) => { state.when = value; show(); });
choices(get("what"), "Gradient of", [["signal", "each layer’s output"], ["weights", "its weights"]], state.what, (value) => { state.what = value; show(); });
choices(get("norm"), "Batch normalisation", [[false, "without"], [true, "with"]], state.norm, (value) => { state.norm = value; measure(); });
choices(get("initialisation"), "Weights begin as", [["pytorch", "PyTorch’s default"], ["glorot", "Glorot"], ["he", "He"]], state.initialisation, (value) => { state.initialisation = value; measure(); });
slider(get("steps"), "steps of training", { min: 0, max: 40, value: state.steps, changed: (value) => { state.steps = value; measure(); } });
const block = (skip) => ({
  boxes: [
    { lines: ["x"], kind: "end", row: 0, lane: 0 },
    { lines: ["3×3 convolution", "ReLU"], kind: "convolution", row: 1, lane: 0 },
    { lines: ["3×3 convolution"], kind: "convolution", row: 2, lane: 0 },
    { lines: skip ? ["F(x) + x", "ReLU"] : ["F(x)", "ReLU"], kind: skip ? "sum" : "end", row: 3, lane: 0 },
  ],
  arrows: [[0, 1], [1, 2], [2, 3]].map(([a, b]) => ({ start: a, end: b, skip: false })).concat(skip ? [{ start: 0, end: 3, skip: true }] : []),
});
drawBlock(get("plain-block"), block(false), "without a skip");
drawBlock(get("residual-block"), block(true), "with a skip");
measure().catch(complain);
