// Curves over two axes, as SVG that takes the width of its place. Numbers come from Python, colours from the style sheet.

import { el, format, svg } from "./draw.js";

const HEIGHT = 270;
const LEFT = 58, RIGHT = 14, TOP = 12, BOTTOM = 42;
const MINUS = "−";
const SUPER = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

/** 0.0000178 as 1.8·10⁻⁵, 0.4 as 0.4: short, whatever the size. */
export function short(value, digits = 2) {
  if (value === 0 || !Number.isFinite(value)) return value === 0 ? "0" : "–";
  const size = Math.abs(value);
  if (size >= 0.01 && size < 10000) return Number(value.toPrecision(digits + (size >= 100 ? 1 : 0))).toString().replace("-", MINUS);
  const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
  return `${mantissa.replace("-", MINUS)}·${power(Number(exponent))}`;
}

export const power = (exponent) => (exponent === 0 ? "1" : `10${[...String(exponent)].map((one) => SUPER[one]).join("")}`);

function linearTicks(low, high, most) {
  const rough = (high - low) / most;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * unit).find((one) => one >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const ticks = [];
  for (let number = first; number * step <= high + step * 1e-6; number += 1) ticks.push(number * step);
  return ticks;
}

function scaleOf(axis, values) {
  const found = values.filter((value) => Number.isFinite(value) && (!axis.log || value > 0));
  let low = axis.min ?? Math.min(...found, axis.log ? 1 : Infinity);
  let high = axis.max ?? Math.max(...found);
  if (!Number.isFinite(low) || !Number.isFinite(high)) [low, high] = [axis.log ? 1e-3 : 0, 1];
  if (axis.log) {
    [low, high] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
    if (high - low < 2) [low, high] = [low - 1, high + 1];
    const step = Math.max(1, Math.ceil((high - low) / 6));
    const ticks = [];
    for (let exponent = Math.ceil(low / step) * step; exponent <= high; exponent += step) ticks.push([exponent, power(exponent)]);
    // What has vanished altogether lies on the floor of the chart.
    return { share: (value) => ((value > 0 ? Math.max(Math.log10(value), low) : low) - low) / (high - low), ticks: ticks.map(([at, text]) => [(at - low) / (high - low), text]) };
  }
  if (high <= low) high = low + 1;
  const show = axis.percent ? (value) => `${format(value * 100, 0)}%` : (value) => format(value, 2);
  return {
    share: (value) => (value - low) / (high - low),
    ticks: linearTicks(low, high, axis.ticks ?? 5).filter((value) => !axis.whole || Number.isInteger(value)).map((value) => [(value - low) / (high - low), show(value)]),
  };
}

/**
 * A chart in `place`; returns draw({label, lines, x, y, marks}). A line is {name, kind, x, y}: kind is a class of the
 * style sheet (a, b, c, d, rule). An axis is {label, min, max, log, percent, whole}. A mark is {y or x, name}.
 */
export function chart(place) {
  let content = null;
  let width = 0;
  const paint = () => {
    width = place.clientWidth;
    if (content && width) place.replaceChildren(image(content, width), legend(content.lines));
  };
  new ResizeObserver(() => { if (place.clientWidth !== width) paint(); }).observe(place);
  place.classList.add("chart");
  return (next) => { content = next; paint(); };
}

function image({ label, lines, x, y, marks = [] }, width) {
  const across = scaleOf({ ...x, ticks: width < 420 ? 4 : 7 }, lines.flatMap((line) => line.x));
  const up = scaleOf(y, [...lines.flatMap((line) => line.y), ...marks.map((mark) => mark.y).filter((one) => one !== undefined)]);
  const right = width - RIGHT, bottom = HEIGHT - BOTTOM;
  const px = (share) => LEFT + share * (right - LEFT);
  const py = (share) => bottom - share * (bottom - TOP);
  const parts = [];
  for (const [share, text] of up.ticks) {
    parts.push(svg("line", { class: "gridline", x1: LEFT, x2: right, y1: py(share), y2: py(share) }), svg("text", { x: LEFT - 7, y: py(share) + 4, "text-anchor": "end" }, text));
  }
  for (const [share, text] of across.ticks) parts.push(svg("text", { x: px(share), y: bottom + 18, "text-anchor": "middle" }, text));
  parts.push(svg("text", { class: "axis", x: (LEFT + right) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, x.label), svg("text", { class: "axis", transform: `translate(13 ${(TOP + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, y.label));
  for (const mark of marks) {
    const at = py(up.share(mark.y));
    parts.push(svg("line", { class: "mark", x1: LEFT, x2: right, y1: at, y2: at }), svg("text", { class: "marked", x: right - 4, y: at < TOP + 14 ? at + 13 : at - 6, "text-anchor": "end" }, mark.name));
  }
  for (const line of lines) {
    const points = line.x.map((one, index) => [px(across.share(one)), py(up.share(line.y[index]))]).filter(([a, b]) => Number.isFinite(a) && Number.isFinite(b));
    if (!points.length) continue;
    parts.push(svg("polyline", { class: `line ${line.kind}`, points: points.map(([a, b]) => `${a.toFixed(1)},${b.toFixed(1)}`).join(" ") }, svg("title", {}, line.name)));
    if (line.dots || points.length === 1) parts.push(...points.map(([a, b]) => svg("circle", { class: `dot ${line.kind}`, cx: a.toFixed(1), cy: b.toFixed(1), r: 3.4 })));
  }
  return svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": label }, ...parts);
}

function legend(lines) {
  const named = lines.filter((line) => line.name);
  return el("ul", { class: "legend" }, ...named.map((line) => el("li", {}, el("i", { class: `key ${line.kind}`, "aria-hidden": "true" }), line.name)));
}
