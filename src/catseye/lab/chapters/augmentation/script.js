// Chapter 7: one transform and its strength at the centre; all of them together; two images mixed.

import { ask, complain, latest, ready } from "./api.js";
import { choices, el, facts, format, get, slider } from "./draw.js";
import { pickImage } from "./images.js";
import { tries } from "./tries.js";

const state = { image: null, key: "rotate_deg", strengths: {}, on: new Set(["crop_padding_px", "hflip", "brightness", "contrast"]), kind: "mixup", alpha: 1 };
let transforms = [];

const percent = (share) => `${format(100 * share, 1)}%`;
const seeds = () => ({ seed: Math.max(0, get("seed").valueAsNumber || 0), step: Math.max(0, get("step").valueAsNumber || 0) });
const chosen = () => transforms.find((one) => one.key === state.key);

function figures(answer) {
  return answer.images.map((url, index) => el("figure", {}, el("img", { src: url, alt: `draw ${index + 1}: ${percent(answer.changed[index])} changed`, class: "pixels" }), el("figcaption", {}, percent(answer.changed[index]))));
}

const one = latest(() => ask("augmentation/draw", { image: state.image.name, strengths: { [state.key]: state.strengths[state.key] }, ...seeds() }), (answer) => {
  get("original").src = answer.original;
  get("original").closest("figure").hidden = false;
  get("draws").replaceChildren(...figures(answer));
  get("one-command").textContent = answer.command;
  observe({ drawn: answer });
  const { meaning, title } = chosen();
  const off = state.strengths[state.key] === chosen().low;
  get("meaning").textContent = off ? `Off: nothing changes.` : `${title}: ${meaning.replaceAll("{x}", format(state.strengths[state.key]))}, drawn for every image separately. Below each draw: its mean difference from the original, as a share of the full range.${answer.grey && state.key === "saturation" ? " This image is grey: it has no saturation to change." : ""}`;
});

const together = latest(() => {
  const strengths = Object.fromEntries([...state.on].map((key) => [key, state.strengths[key]]));
  return ask("augmentation/draw", { image: state.image.name, strengths, num: 16, ...seeds() });
}, (answer) => {
  get("batch").replaceChildren(...figures(answer));
  const list = (values) => values.map((value) => format(value)).join(", ");
  facts(get("batch-facts"), [
    ["shape", answer.shape.join(" × "), "images × channels × rows × columns"],
    ["values", `${format(answer.lowest)} … ${format(answer.highest)}`, "after (x − mean) / standard deviation"],
    ["mean per channel", list(answer.mean), `subtracted: ${list(answer.spec_mean)}`],
    ["standard deviation", list(answer.std), `divided by: ${list(answer.spec_std)}`],
  ]);
  get("batch-command").textContent = answer.command;
});

const mix = latest(() => ask("augmentation/mix", { kind: state.kind, alpha: state.alpha, image: state.image.name, ...seeds() }), (answer) => {
  get("mixed").replaceChildren(...answer.images.map((url, index) => {
    const shares = answer.targets[index].map((share, label) => [share, answer.classes[label]]).filter(([share]) => share > 0).sort((a, b) => b[0] - a[0]);
    const said = shares.map(([share, name]) => `${format(share)} ${name}`).join(" + ");
    return el("figure", {}, el("img", { src: url, alt: said }), el("figcaption", {},
      el("ol", { class: "bars small-bars" }, ...shares.map(([share, name]) => el("li", {}, el("span", { class: "name" }, name), el("span", { class: "track", "aria-hidden": "true" }, el("span", { class: "fill", vars: { width: `${100 * share}%` } })), el("span", { class: "value" }, format(share)))))));
  }));
  const what = state.kind === "mixup" ? "MixUp: λ times one image plus (1 − λ) times another, and the labels likewise." : "CutMix: a rectangle of one image is replaced by the same part of another; the label follows the area.";
  const spread = state.alpha === 0 ? "α = 0 is off." : state.alpha < 0.7 ? "With a small α most mixtures are nearly one image." : state.alpha <= 1.3 ? "With α = 1 every λ from 0 to 1 is equally likely." : "With a large α most mixtures are half and half.";
  get("mix-says").textContent = `${what} λ ~ Beta(α, α), drawn for every image. ${spread} Shares of a label sum to 1; an image may be mixed with itself.`;
  get("mix-command").textContent = answer.command;
  observe({ mixed: answer });
});

const drawn = { at: "", from: "", images: null };
const observe = tries([
  {
    ask: "Go to the next step and back again: will the eight draws be the same as before?",
    options: ["the same", "others, they are random"],
    how: "Press “Next step”, then set the step back to where it was.",
    seen: ({ drawn: answer }) => {
      if (!answer) return null;
      const { seed, step } = seeds();
      const rest = `${state.image.name} ${state.key} ${state.strengths[state.key]} ${seed}`;
      if (drawn.from !== rest) Object.assign(drawn, { from: rest, images: { [step]: answer.images }, at: step });
      const before = drawn.images[step];
      const returned = before && drawn.at !== step;
      drawn.at = step;
      drawn.images[step] ??= answer.images;
      if (!returned) return null;
      return { right: before.every((url, index) => url === answer.images[index]) ? "the same" : "others, they are random", says: "A draw depends only on the seed, the step and the place in the batch: so a resumed run continues as if it had never stopped." };
    },
  },
  {
    ask: "Two images mixed by CutMix: what do the shares of their labels add up to?",
    options: ["less than 1", "1", "2"],
    how: "Choose CutMix, and add the shares under an image.",
    seen: ({ mixed }) => {
      if (!mixed || state.kind !== "cutmix") return null;
      const sums = mixed.targets.map((row) => row.reduce((a, b) => a + b, 0));
      const all = sums.every((one) => Math.abs(one - 1) < 1e-4);
      return { right: all ? "1" : sums.some((one) => one > 1) ? "2" : "less than 1", says: `In each of the ${sums.length} mixtures: the label follows the area, and the two areas are the whole image.` };
    },
  },
  {
    ask: "With α = 0.1 instead of 1: what will most mixtures look like?",
    options: ["half and half", "nearly one of the two images"],
    how: "Set α to 0.1.",
    seen: ({ mixed }) => {
      if (!mixed || Math.abs(state.alpha - 0.1) > 1e-6) return null;
      const largest = mixed.targets.map((row) => Math.max(...row));
      const pure = largest.filter((one) => one > 0.8).length;
      return { right: pure > largest.length / 2 ? "nearly one of the two images" : "half and half", says: `In ${pure} of ${largest.length} mixtures one label has more than 0.8.` };
    },
  },
]);

function choose(key) {
  state.key = key;
  const { low, high, step } = chosen();
  const input = get("strength");
  // For the resized crop 1 is off and small is strong, so its slider is reversed.
  Object.assign(input, { min: Math.min(low, high), max: Math.max(low, high), step });
  input.value = state.strengths[key];
  input.style.direction = low > high ? "rtl" : "ltr";
  showStrength();
}

function showStrength() {
  const text = format(state.strengths[state.key]);
  get("strength-number").textContent = text;
  get("strength-label").textContent = `strength: augment.${state.key}`;
  get("strength").setAttribute("aria-valuetext", text);
}

get("strength").oninput = () => {
  state.strengths[state.key] = get("strength").valueAsNumber;
  showStrength();
  one();
  if (state.on.has(state.key)) together();
};
const all = () => Promise.all([one(), together(), mix()]);
get("seed").oninput = get("step").oninput = all;
get("next").onclick = () => { get("step").value = seeds().step + 1; all(); };
choices(get("kind"), "Mix by", [["mixup", "MixUp"], ["cutmix", "CutMix"]], state.kind, (value) => { state.kind = value; mix(); });
slider(get("alpha"), "α", { min: 0, max: 4, step: 0.1, value: state.alpha, changed: (value) => { state.alpha = value; mix(); } });

ask("augmentation/table").then(async (answer) => {
  transforms = answer.transforms;
  state.strengths = Object.fromEntries(transforms.map(({ key, shown }) => [key, shown]));
  choices(get("transforms"), "Transform", transforms.map(({ key, title }) => [key, title]), state.key, (key) => { choose(key); one(); });
  get("together").replaceChildren(...transforms.map(({ key, title }) => {
    const input = el("input", { type: "checkbox", checked: state.on.has(key) });
    input.onchange = () => { state.on[input.checked ? "add" : "delete"](key); together(); };
    return el("label", { class: "check" }, input, title);
  }));
  choose(state.key);
  let first = true;
  await pickImage(get("images"), (image) => {
    state.image = image;
    const done = all();
    if (first) done.finally(ready);
    first = false;
  });
}).catch(complain);
