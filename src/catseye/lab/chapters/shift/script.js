// Chapter 10: one digit, moved, and the answers of three networks. Python trains and measures them.

import { ask, complain, latest, ready } from "./api.js";
import { chart } from "./chart.js";
import { count, el, format, get, paintMap, slider } from "./draw.js";
import { pickImage } from "./images.js";
import { tries } from "./tries.js";

const state = { digit: 0, down: 0, right: 0 };
const KINDS = { dense: "b", dense_shifted: "rule", convolution: "a" };
const percent = (share) => `${format(100 * share, 1)}%`;
let found = null;
let sliders = {};

const drawCurves = chart(get("curves"));
const pixels = (value) => `${format(value, 0)} px`;

const move = latest(() => ask("shift/digit", state), (answer) => {
  const canvas = el("canvas", { class: "pixels", role: "img", "aria-label": `a ${answer.label}, ${state.right} px to the right and ${state.down} px down` });
  paintMap(canvas, answer.pixels, { low: 0, high: 255 });
  get("stage").replaceChildren(canvas);
  const top = (name) => answer.shares[name].indexOf(Math.max(...answer.shares[name]));
  get("answers").replaceChildren(...found.contestants.map(({ name, title }) => {
    const best = top(name);
    const bars = answer.shares[name].map((share, digit) => el("li", { class: digit === answer.label ? "true" : null }, el("span", { class: "bar", vars: { "--share": share.toFixed(4) } }), el("span", {}, String(digit))));
    return el("div", { class: `contestant ${best === answer.label ? "good" : "bad"}` }, el("h3", {}, title), el("p", { class: "said" }, el("b", {}, String(best)), ` ${percent(answer.shares[name][best])}, ${best === answer.label ? "right" : `wrong: it is a ${answer.label}`}`), el("ol", { class: "tiny-bars", "aria-hidden": "true", start: 0 }, ...bars));
  }));
  get("bench").setAttribute("aria-busy", "false");
  observe({ ...state, label: answer.label, best: Object.fromEntries(found.contestants.map(({ name }) => [name, top(name)])) });
  ready();
});

function go(down, right) {
  const far = found.furthest_px;
  const within = (value) => Math.max(-far, Math.min(far, value));
  Object.assign(state, { down: within(down), right: within(right) });
  for (const key of ["down", "right"]) { sliders[key].value = state[key]; sliders[key].previousElementSibling.querySelector("output").textContent = pixels(state[key]); }
  move();
}

function digits() {
  get("digits").replaceChildren(...found.digits.map((rows, index) => {
    const canvas = el("canvas", { class: "pixels" });
    paintMap(canvas, rows, { low: 0, high: 255 });
    return el("button", { type: "button", "aria-pressed": String(index === state.digit), "aria-label": `digit ${index + 1}, a ${found.labels[index]}`, onclick: () => { state.digit = index; digits(); get("digits").children[index].focus(); move(); } }, canvas);
  }));
}

function curves() {
  const far = found.furthest_px;
  const x = found.accuracies.dense.map((_, index) => index - far);
  drawCurves({
    label: "Accuracy against the shift to the right",
    lines: found.contestants.map(({ name, title }) => ({ name: title, kind: KINDS[name], x, y: found.accuracies[name], dots: true })),
    x: { label: "px to the right", whole: true, min: -far, max: far }, y: { label: "right", min: 0, max: 1, percent: true },
    marks: [{ y: 0.1, name: "guessing" }],
  });
  const at = (name, by) => percent(found.accuracies[name][far + by]);
  get("all-says").textContent = `On ${count(found.num_test)} held-out digits: in the middle the dense network gets ${at("dense", 0)} right, one pixel to the right ${at("dense", 1)}, two pixels ${at("dense", 2)}; the convolutional one ${at("convolution", 0)}, ${at("convolution", 1)} and ${at("convolution", 2)}, with ${count(found.contestants[2].num_parameters)} parameters instead of ${count(found.contestants[0].num_parameters)}. Trained with shifts, the dense one gets ${at("dense_shifted", 0)} in the middle and ${at("dense_shifted", 2)} two pixels beside it.`;
}

let moved = false;
const fall = (name) => found.accuracies[name][found.furthest_px] - Math.min(...found.accuracies[name]);
const observe = tries([
  {
    ask: "Both networks recognise this digit. Which of them still does when it moves by two pixels?",
    options: ["both", "only the dense one", "only the convolutional one", "neither"],
    how: "Choose a digit that both get right in the middle, and move it two pixels to the right.",
    seen: ({ right, down, label, best }) => {
      if (Math.abs(right) + Math.abs(down) !== 2) return null;
      const knows = [best.dense === label, best.convolution === label];
      return { right: knows[0] && knows[1] ? "both" : knows[0] ? "only the dense one" : knows[1] ? "only the convolutional one" : "neither", says: `The dense network says ${best.dense}, the convolutional one ${best.convolution}; it is a ${label}. Over all test digits two pixels cost the dense one ${percent(found.accuracies.dense[found.furthest_px] - found.accuracies.dense[found.furthest_px + 2])} of the images, the convolutional one ${percent(found.accuracies.convolution[found.furthest_px] - found.accuracies.convolution[found.furthest_px + 2])}.` };
    },
  },
  {
    ask: "A dense network was also trained on shifted digits. In the middle, is it better or worse than the one trained only there?",
    options: ["better", "worse", "equal"],
    how: "Move the digit away and back to the middle and read the curve at 0.",
    seen: ({ right, down }) => {
      moved ||= right !== 0 || down !== 0;
      if (right || down || !moved) return null;
      const [plain, shifted] = ["dense", "dense_shifted"].map((name) => found.accuracies[name][found.furthest_px]);
      return { right: plain === shifted ? "equal" : shifted > plain ? "better" : "worse", says: `${percent(shifted)} against ${percent(plain)}: it has ${(2 * found.furthest_px + 1) ** 2} places to learn with the same weights. Its accuracy falls by at most ${percent(fall("dense_shifted"))} of the images when digits move, that of the other by ${percent(fall("dense"))}.` };
    },
  },
]);

async function yours() {
  const moved = { image: null, right: 0.1 };
  const look = latest(() => ask("shift/given", { image: moved.image.name, right: moved.right }), (answer) => {
    const { before, after } = answer;
    const kept = before.name === after.name ? `the answer stays ${after.name}, ${percent(after.share)} instead of ${percent(before.share)}` : `the answer changes from ${before.name} (${percent(before.share)}) to ${after.name} (${percent(after.share)})`;
    get("yours").textContent = `Moved by ${answer.moved_px} of its ${answer.width_px} px, ${kept}. ${answer.says}`;
  });
  slider(get("yours-move"), "Moved to the right", { min: -0.25, max: 0.25, step: 0.05, value: moved.right, show: (value) => `${format(100 * value, 0)}%`, changed: (value) => { moved.right = value; look(); } });
  await pickImage(get("images"), (image) => { moved.image = image; look(); });
}

const stage = get("stage");
stage.onkeydown = (event) => {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!step || !found) return;
  event.preventDefault();
  go(state.down + step[0], state.right + step[1]);
};
ask("shift/contest").then((answer) => {
  found = answer;
  for (const [key, label] of [["right", "To the right"], ["down", "Down"]]) sliders[key] = slider(get("moves"), label, { min: -found.furthest_px, max: found.furthest_px, value: 0, show: pixels, changed: (value) => { state[key] = value; move(); } });
  get("about").textContent = `Trained here on ${count(found.num_train)} digits in the middle of ${found.ground_px} × ${found.ground_px} px, in ${found.epochs} epochs; tested on ${count(found.num_test)} others. Drag the sliders, or focus the image and use the arrow keys.`;
  digits();
  curves();
  move();
  return yours();
}).catch((error) => { complain(error); get("about").textContent = error.message; ready(); });
