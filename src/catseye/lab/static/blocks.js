// A block of a network: boxes in rows and lanes, arrows, skips as arcs. The places come from models/diagram.py.

import { el, svg } from "./draw.js";

const LINE = 17, PAD = 9, GAP = 26, LANE_GAP = 12;

/** Draw a diagram {boxes, arrows} into a figure, as wide as its boxes need. */
export function drawBlock(place, { boxes, arrows }, caption) {
  const longest = Math.max(...boxes.flatMap((box) => box.lines.map((line) => line.length)));
  const width = Math.max(70, longest * 7.4 + 22);
  const rows = Math.max(...boxes.map((box) => box.row)) + 1;
  const heights = Array.from({ length: rows }, (_, row) => Math.max(...boxes.filter((box) => box.row === row).map((box) => box.lines.length)) * LINE + 2 * PAD);
  const tops = heights.map((_, row) => heights.slice(0, row).reduce((sum, one) => sum + one + GAP, 4));
  const lanes = boxes.map((box) => box.lane);
  const skips = arrows.some((arrow) => arrow.skip);
  const [left, right] = [Math.min(...lanes), Math.max(...lanes)];
  const step = width + LANE_GAP;
  const bulge = skips ? 46 : 4;
  const whole = (right - left) * step + width + 2 * bulge;
  const x = (box) => (box.lane - left) * step + bulge;
  const heightOf = (box) => box.lines.length * LINE + 2 * PAD;
  const top = (box) => tops[box.row] + (heights[box.row] - heightOf(box)) / 2;
  const parts = arrows.map(({ start, end, skip }) => {
    const [from, to] = [boxes[start], boxes[end]];
    const [x1, y1, x2, y2] = [x(from) + width / 2, top(from) + heightOf(from), x(to) + width / 2, top(to) - 5];
    if (skip) {
      const side = Math.max(x(from), x(to)) + width;
      const [a, b] = [top(from) + heightOf(from) / 2, top(to) + heightOf(to) / 2];
      return svg("path", { class: "arrow skip", "marker-end": "url(#head-skip)", d: `M${x(from) + width} ${a} C${side + bulge - 4} ${a}, ${side + bulge - 4} ${b}, ${x(to) + width + 5} ${b}` });
    }
    const middle = (y1 + y2) / 2;
    return svg("path", { class: "arrow", "marker-end": "url(#head)", d: Math.abs(x1 - x2) < 1 ? `M${x1} ${y1} L${x2} ${y2}` : `M${x1} ${y1} C${x1} ${middle}, ${x2} ${middle}, ${x2} ${y2}` });
  });
  for (const box of boxes) {
    parts.push(svg("rect", { class: `box ${box.kind}`, x: x(box), y: top(box), width, height: heightOf(box), rx: 9 }));
    box.lines.forEach((line, index) => parts.push(svg("text", { class: index ? "more" : null, x: x(box) + width / 2, y: top(box) + PAD + LINE * (index + 0.76), "text-anchor": "middle" }, line)));
  }
  const height = tops.at(-1) + heights.at(-1) + 4;
  const said = boxes.map((box) => box.lines.join(", ")).join("; then ") + (skips ? "; with a skip past the layers" : "");
  const head = (id, kind) => svg("marker", { id, viewBox: "0 0 8 8", refX: 5, refY: 4, markerWidth: 12, markerHeight: 12, markerUnits: "userSpaceOnUse", orient: "auto-start-reverse" }, svg("path", { class: `head ${kind}`, d: "M0 0 L8 4 L0 8 z" }));
  const image = svg("svg", { class: "block", viewBox: `0 0 ${whole} ${height}`, width: whole, height, role: "img", "aria-label": said }, svg("defs", {}, head("head", "line"), head("head-skip", "skip")), ...parts);
  place.replaceChildren(el("div", { class: "scroll", tabindex: whole > 330 ? 0 : null, role: whole > 330 ? "group" : null, "aria-label": whole > 330 ? caption : null }, image), el("figcaption", {}, caption));
}
