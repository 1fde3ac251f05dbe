// Chapter 8: the milestones on a line, and one of them in detail. Python reads blocks and sizes off the modules.

import { ask, complain, latest, ready } from "./api.js";
import { drawBlock } from "./blocks.js";
import { tries } from "./tries.js";
import { count, el, facts, format, get, svg } from "./draw.js";

let milestones = [];
let current = 0;
let rows = [];
const NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

const millions = (value) => (value >= 1e6 ? `${format(value / 1e6, value >= 1e7 ? 1 : 2)} M` : count(value));
const percent = (share) => `${format(100 * share, 1)}%`;

function years() {
  const place = get("years");
  const width = Math.max(300, place.clientWidth), height = 288;
  const [left, right, top, bottom] = [34, 30, 24, 84];
  const [first, last] = [1996, 2027];
  const across = (year) => left + ((year - first) / (last - first)) * (width - left - right);
  const up = (top1) => height - bottom - ((top1 - 54) / (86 - 54)) * (height - bottom - top);
  const floor = height - bottom;
  const beside = floor + 22; // the row of networks never measured on ImageNet
  const parts = [60, 70, 80].flatMap((value) => [svg("line", { class: "gridline", x1: left, x2: width - right, y1: up(value), y2: up(value) }), svg("text", { x: left - 5, y: up(value) + 4, "text-anchor": "end" }, `${value}%`)]);
  parts.push(svg("line", { class: "axisline", x1: left, x2: width - right, y1: floor, y2: floor }));
  for (const year of width > 560 ? [1998, 2003, 2008, 2012, 2015, 2019, 2022, 2025] : [1998, 2005, 2012, 2019, 2025]) parts.push(svg("text", { x: across(year), y: height - 22, "text-anchor": "middle" }, String(year)));
  parts.push(svg("text", { x: width - right, y: beside + 4, "text-anchor": "end" }, "never measured on ImageNet"), svg("line", { class: "gridline", x1: left, x2: width - right, y1: height - 40, y2: height - 40 }));
  milestones.forEach((one, index) => {
    const x = across(one.year) + (one.name === "vgg16" ? -6 : one.name === "googlenet" ? 6 : 0);
    const y = one.top1 === null ? beside : up(one.top1);
    const radius = 5 + 1.5 * Math.log2(1 + one.parameters / 1e6);
    parts.push(one.top1 === null ? "" : svg("line", { class: "stem", x1: x, x2: x, y1: y, y2: floor }), svg("circle", { class: `milestone${index === current ? " now" : ""}${one.extra ? " extra" : ""}`, cx: x, cy: y, r: radius, onclick: () => choose(index) }, svg("title", {}, `${one.title}, ${one.year}`)));
    if (index === current) parts.push(svg("text", { class: "named", x: Math.min(width - 70, Math.max(60, x)), y: Math.max(14, y - radius - 7), "text-anchor": "middle" }, one.title));
  });
  const buttons = milestones.map((one, index) => el("button", { type: "button", "aria-pressed": String(index === current), onclick: () => choose(index), onkeydown: (event) => walk(event) }, one.title));
  const had = place.contains(document.activeElement);
  place.replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `Published accuracy on ImageNet of ${milestones.filter((one) => one.top1 !== null).length} of ${milestones.length} networks` }, ...parts), el("div", { class: "choices", role: "group", "aria-label": "Network" }, ...buttons));
  if (had) buttons[current].focus({ preventScroll: true });
}

function walk(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1, Home: -current, End: milestones.length - 1 - current }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  choose(Math.min(milestones.length - 1, Math.max(0, current + step)));
}

function choose(index) {
  current = index;
  years();
  const one = milestones[index];
  get("year").textContent = one.year;
  get("name").textContent = one.title;
  get("innovation").textContent = one.innovation;
  const measuredRow = rows.find((row) => row.name === one.name);
  get("ways").replaceChildren(
    el("a", { href: "#block-title" }, "its block"),
    measuredRow ? el("a", { href: `#row-${one.name}`, onclick: () => markRow(one.name) }, `measured: ${percent(measuredRow.accuracy)}`) : el("span", { class: "quiet" }, "not in the measured table"),
    el("a", { href: one.link, target: "_blank", rel: "noreferrer noopener" }, "the paper ↗"));
  markRow(one.name);
  get("sources").textContent = `${one.paper}. Accuracy: ${one.top1_source}.`;
  get("article").hidden = !one.article;
  get("article").textContent = `Other sources say ${one.article}.`;
  return take(one.name);
}

const take = latest((name) => ask("timeline/milestone", { name }), (found) => {
  const one = milestones[current];
  facts(get("counted"), [
    ["parameters, counted", count(found.num_parameters), `published: ${millions(one.parameters)}`, true],
    ["multiply-adds, counted", `${format(found.num_macs / 1e9, found.num_macs > 1e8 ? 2 : 5)} G`, `published: ${format(one.gflops, 4)} G at ${one.px} px`],
    ["layers with weights", `${found.num_convolutions} + ${found.num_linear}`, "convolutions + dense"],
    ["top-1 on ImageNet", one.top1 === null ? "–" : `${format(one.top1)}%`, one.top1_weights ? `torchvision’s weights: ${format(one.top1_weights)}%` : "published"],
  ]);
  drawBlock(get("block"), found.diagram, `${found.diagram.block}, traced from the module that --model ${found.name} trains`);
  silhouette(found);
  observe(found);
  const pair = found.two_for_one;
  get("extra").replaceChildren(pair ? el("p", { class: "note" }, `Two stacked 3×3 convolutions see ${pair["two 3x3"].sees_px} px, the same as one 5×5 (${pair["one 5x5"].sees_px} px), with ${count(pair["two 3x3"].num_weights)} instead of ${count(pair["one 5x5"].num_weights)} weights at 64 channels.`) : "");
});

/** The row of the chosen network stands out in the measured table. */
function markRow(name) {
  for (const row of get("measured").querySelectorAll("tbody tr")) row.classList.toggle("now", row.id === `row-${name}`);
}

const counted = {};
const sum = (layers, kind, key) => layers.filter((one) => one.kind === kind).reduce((all, one) => all + one[key], 0);
const observe = tries([
  {
    ask: "VGG-16 and GoogLeNet are from the same year. How many times more parameters has VGG-16?",
    options: ["about as many", "five times", "twenty times"],
    how: "Choose VGG-16, then GoogLeNet, and compare what is counted.",
    seen: (found) => {
      counted[found.name] = found.num_parameters;
      if (!counted.vgg16 || !counted.googlenet) return null;
      const ratio = counted.vgg16 / counted.googlenet;
      return { right: ratio > 12 ? "twenty times" : ratio > 3 ? "five times" : "about as many", says: `${count(counted.vgg16)} against ${count(counted.googlenet)}, ${format(ratio, 1)} times: GoogLeNet averages over all places before its last layer, where VGG-16 has dense layers.` };
    },
  },
  {
    ask: "AlexNet: where are most of its parameters, and where is most of its computing?",
    options: ["both in convolutions", "both in dense layers", "parameters dense, computing in convolutions", "parameters in convolutions, computing dense"],
    how: "Choose AlexNet and look at “The whole network”.",
    seen: ({ name, layers }) => {
      if (name !== "alexnet") return null;
      const [weights, work] = ["num_parameters", "num_macs"].map((key) => sum(layers, "linear", key) / (sum(layers, "linear", key) + sum(layers, "convolution", key)));
      const options = [["both in convolutions", "parameters in convolutions, computing dense"], ["parameters dense, computing in convolutions", "both in dense layers"]];
      return { right: options[Number(weights > 0.5)][Number(work > 0.5)], says: `Dense layers hold ${percent(weights)} of its parameters and do ${percent(work)} of its multiply-adds.` };
    },
  },
  {
    ask: "Each network is trained for the same short time on the same images: which is best?",
    options: ["the oldest, LeNet-5", "ResNet-50", "the newest, ConvNeXt-T"],
    how: "Choose LeNet-5, and follow “measured” to its row.",
    seen: ({ name }) => {
      if (name !== "lenet5" || !rows.length) return null;
      const best = rows.reduce((a, b) => (b.accuracy > a.accuracy ? b : a));
      const words = { lenet5: "the oldest, LeNet-5", resnet50: "ResNet-50", convnext_tiny: "the newest, ConvNeXt-T" };
      return { right: words[best.name] ?? best.name, says: `${percent(best.accuracy)}, with ${count(best.num_seen)} images seen; ConvNeXt-T saw ${count(rows.find((row) => row.name === "convnext_tiny")?.num_seen ?? 0)} in the same time.` };
    },
  },
]);

function silhouette({ layers, num_macs: whole, input }) {
  const place = get("silhouette");
  const width = Math.max(260, place.clientWidth), height = 190;
  const largestSide = input[1];
  const step = width / layers.length;
  const gap = step > 5 ? 1.5 : 0.5;
  const heaviest = Math.max(...layers.map((layer) => layer.num_macs));
  const bars = layers.map((layer, index) => {
    const tall = Math.max(5, Math.sqrt(layer.side / largestSide) * (height - 10));
    const says = `${layer.name}: ${layer.channels} channels of ${layer.side} × ${layer.side}, ${count(layer.num_parameters)} parameters, ${format((100 * layer.num_macs) / whole, 1)}% of the computing, sees ${layer.sees_px} px`;
    return svg("rect", { class: `bar-${layer.kind}`, x: index * step, y: (height - tall) / 2, width: Math.max(0.8, step - gap), height: tall, rx: Math.min(3, step / 4), vars: { "--v": (0.25 + 0.75 * (layer.num_macs / heaviest)).toFixed(3) }, onmouseenter: () => { get("layer").textContent = says; } }, svg("title", {}, says));
  });
  place.replaceChildren(svg("svg", { class: "silhouette", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `${layers.length} layers, from ${layers[0].side} px down to 1` }, ...bars));
  const heavy = layers.find((layer) => layer.num_macs === heaviest);
  const large = layers.reduce((a, b) => (b.num_parameters > a.num_parameters ? b : a));
  get("layer").textContent = `Most computing: ${heavy.name}, ${format((100 * heaviest) / whole, 1)}%. Most parameters: ${large.name}, ${count(large.num_parameters)}.`;
}

function measured(found) {
  const best = Math.max(...found.rows.map((row) => row.accuracy));
  rows = found.rows;
  const lines = rows.map((row) => el("tr", { id: `row-${row.name}`, class: row.accuracy === best ? "chosen" : null }, el("th", { scope: "row" }, row.name), el("td", { class: "num" }, String(row.year)), el("td", { class: "num" }, percent(row.accuracy)), el("td", { class: "num" }, `${percent(row.accuracy_low)} – ${percent(row.accuracy_high)}`),
    el("td", { class: "num" }, millions(row.num_parameters)), el("td", { class: "num" }, count(Math.round(row.train_images_per_s))), el("td", { class: "num" }, count(Math.round(row.inference_images_per_s))), el("td", { class: "num" }, count(row.num_seen))));
  const head = ["network", "year", "accuracy", "95% interval", "parameters", "training, images/s", "asking, images/s", "images seen"];
  for (const [key, value] of Object.entries({ tabindex: "0", role: "group", "aria-label": "The measured table" })) get("measured").setAttribute(key, value);
  get("measured").replaceChildren(el("table", { class: "plain" }, el("thead", {}, el("tr", {}, ...head.map((name, index) => el("th", { scope: "col", class: index ? "num" : null }, name)))), el("tbody", {}, ...lines)));
  get("measured-say").textContent = `Each network had ${format(found.budget_s)} s of training on the same images (${found.data}); ${count(found.rows[0].num_test)} held-out images. In so little time a small network sees more images, which is why a large one can lose.`;
  if (!found.yours) get("measured-say").append(" Recorded by this project on two CPU cores, one seed. Your own: ", el("code", {}, "catseye timeline DATA --budget 10m --out FOLDER"), ", then ", el("code", {}, "catseye lab --timeline FOLDER"), ".");
}

let width = 0;
new ResizeObserver(() => { if (milestones.length && get("years").clientWidth !== width) { width = get("years").clientWidth; years(); } }).observe(get("years"));
ask("timeline/milestones").then(async (found) => {
  milestones = found.milestones;
  const number = milestones.length;
  get("years-title").textContent = `${(NUMBERS[number] ?? String(number)).replace(/^./, (one) => one.toUpperCase())} networks, from ${milestones[0].year} to ${milestones.at(-1).year}`;
  measured(found.measured);
  await choose(milestones.findIndex((one) => one.name === "resnet50"));
}).catch(complain).finally(ready);
