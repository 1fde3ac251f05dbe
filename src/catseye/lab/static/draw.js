// Elements, tables of numbers, and maps on a canvas. Colours come from the style sheet, numbers from Python.

/** el("td", {class: "plus", onclick: f}, "text", child): an element; text is text, never markup. */
export function el(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element[name] = value;
    else if (name === "vars") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const get = (id) => document.getElementById(id);

/** A number as a reader wants it: whole ones whole, others short; a real minus sign. */
export function format(value, digits = 2) {
  if (!Number.isFinite(value)) return "–";
  const rounded = Number(value.toFixed(digits));
  let text = Number.isInteger(rounded) ? String(rounded) : rounded.toFixed(digits).replace(/0+$/, "");
  if (rounded === 0 && Math.abs(value) > 1e-9) text = value.toExponential(1);
  return text.replace("-", "−");
}

export const count = (value) => value.toLocaleString("en-US");

/** Tint a cell by its value: `largest` gives the full tint. */
export function tint(cell, value, largest) {
  cell.classList.remove("plus", "minus");
  if (value) cell.classList.add(value > 0 ? "plus" : "minus");
  cell.style.setProperty("--v", largest ? Math.min(1, Math.abs(value) / largest).toFixed(3) : 0);
}

/** A table of numbers (H, W). `cell(td, value, row, column)` may change each. */
export function grid(rows, { caption, dense = false, signed = true, cell } = {}) {
  const largest = Math.max(...rows.flat().map(Math.abs), 1e-12);
  const body = rows.map((row, y) => el("tr", {}, ...row.map((value, x) => {
    const td = el("td", {}, format(value));
    if (signed) tint(td, value, largest);
    cell?.(td, value, y, x);
    return td;
  })));
  const table = el("table", { class: dense ? "grid dense" : "grid" }, el("tbody", {}, ...body));
  if (caption) table.prepend(el("caption", {}, caption));
  return table;
}

/** What may be wider than the screen is scrolled by keys too. */
export const scrolled = (label, ...children) => el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": label }, ...children);

/** A table of inputs; `changed(rows)` is called with all numbers when one was typed. */
export function editableGrid(rows, { label, caption, min = -999, max = 999, step = "any", changed }) {
  const values = rows.map((row) => [...row]);
  const largest = () => Math.max(...values.flat().map(Math.abs), 1e-12);
  const cells = [];
  const table = el("table", { class: "grid" }, caption ? el("caption", {}, caption) : null, el("tbody", {}, ...rows.map((row, y) =>
    el("tr", {}, ...row.map((value, x) => {
      const input = el("input", { type: "number", min, max, step, value: Number(value.toFixed(4)), inputmode: "decimal", "aria-label": `${label}, row ${y + 1}, column ${x + 1}` });
      const td = el("td", { class: "edit" }, input);
      cells.push([td, y, x]);
      input.oninput = () => {
        const number = input.valueAsNumber;
        if (!Number.isFinite(number)) return; // "-" on its way to "-1"
        values[y][x] = Math.max(min, Math.min(max, number));
        paint();
        changed(values.map((one) => [...one]));
      };
      input.onkeydown = (event) => move(event, table, y, x);
      return td;
    })))));
  const paint = () => cells.forEach(([td, y, x]) => tint(td, values[y][x], largest()));
  paint();
  return table;
}

/** Arrow keys walk between inputs with up and down, and with left and right when Alt is held. */
function move(event, table, y, x) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!step || (step[1] && !event.altKey)) return;
  const next = table.rows[y + step[0]]?.cells[x + step[1]]?.querySelector("input");
  if (next) {
    event.preventDefault();
    next.focus();
    next.select();
  }
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function rgb(text) {
  const digits = text.replace("#", "");
  return [0, 2, 4].map((at) => parseInt(digits.slice(at, at + 2), 16));
}

const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"].map(rgb);

/** Colours for values: grey (low black, high white), signed (minus blue, 0 the paper, plus orange), heat (viridis). */
export function palette(name, low, high) {
  const between = (a, b, share) => a.map((one, channel) => one + (b[channel] - one) * share);
  if (name === "signed") {
    const [plus, minus, none] = [rgb(css("--plus")), rgb(css("--minus")), rgb(css("--surface"))];
    const largest = Math.max(Math.abs(low), Math.abs(high), 1e-12);
    return (value) => between(none, value > 0 ? plus : minus, Math.min(1, Math.abs(value) / largest));
  }
  const share = (value) => (high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0);
  if (name === "heat") {
    return (value) => {
      const place = share(value) * (VIRIDIS.length - 1);
      const lower = Math.min(VIRIDIS.length - 2, Math.floor(place));
      return between(VIRIDIS[lower], VIRIDIS[lower + 1], place - lower);
    };
  }
  return (value) => Array(3).fill(255 * share(value));
}

/** Paint a map (H, W) onto a canvas, one value one pixel; the style sheet makes it large. */
export function paintMap(canvas, rows, { colours = "grey", low, high } = {}) {
  const flat = rows.flat();
  const colour = palette(colours, low ?? Math.min(...flat), high ?? Math.max(...flat));
  canvas.width = rows[0].length;
  canvas.height = rows.length;
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(canvas.width, canvas.height);
  flat.forEach((value, index) => {
    const [r, g, b] = colour(value);
    image.data.set([r, g, b, 255], index * 4);
  });
  pen.putImageData(image, 0, 0);
}

/** A segmented choice of buttons; `chosen(value)` is called on a change. Returns a function that sets it. */
export function choices(place, legend, options, value, chosen) {
  const buttons = options.map(([key, text]) => el("button", { type: "button", "aria-pressed": String(key === value), onclick: () => { set(key); chosen(key); } }, text));
  const set = (key) => buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(options[index][0] === key)));
  place.replaceChildren(el("fieldset", { class: "choices" }, el("legend", {}, legend), ...buttons));
  return set;
}

/** A labelled slider with its value beside it; returns the input. */
export function slider(place, label, { min, max, step = 1, value, show = (one) => format(one), changed }) {
  const output = el("output", {}, show(value));
  const input = el("input", { type: "range", min, max, step, value, "aria-label": label });
  input.oninput = () => {
    output.textContent = show(input.valueAsNumber);
    input.setAttribute("aria-valuetext", output.textContent);
    changed(input.valueAsNumber);
  };
  place.append(el("label", { class: "field range" }, el("span", {}, label, output), input));
  return input;
}

/** Terms and values as a list of facts. */
export function facts(place, pairs) {
  place.replaceChildren(...pairs.map(([term, value, more, big]) =>
    el("div", { class: big ? "big" : null }, el("dt", {}, term), el("dd", {}, value, more ? el("small", {}, ` ${more}`) : null))));
}
