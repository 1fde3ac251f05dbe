// Several images as a table: counts per class that filter it, and all rows as a CSV file. Sends no requests.

import { percent } from "./result.js";

const get = (id) => document.getElementById(id);
let shownGroup = "";
let redraw = () => {};

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** The group an image is counted in: its class, or why it has none. */
const groupOf = (entry) => (entry.error ? "not read" : !entry.answer ? "waiting" : entry.answer.unknown ? "unknown" : entry.answer.class);

export function startTable(entries, select) {
  get("csv").onclick = () => download(entries());
  let due = false;
  redraw = () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; draw(entries(), select); });
  };
}

export const updateTable = () => redraw();

function draw(entries, select) {
  get("table-panel").hidden = entries.length < 2;
  if (entries.length < 2) return;
  const counts = new Map();
  for (const entry of entries) counts.set(groupOf(entry), (counts.get(groupOf(entry)) ?? 0) + 1);
  if (!counts.has(shownGroup)) shownGroup = "";
  const groups = [["", entries.length], ...[...counts].sort((a, b) => b[1] - a[1])];
  get("counts").replaceChildren(...groups.map(([name, number]) => {
    const button = element("button", "chip", `${name || "all"} ${number.toLocaleString("en")}`);
    button.type = "button";
    button.setAttribute("aria-pressed", String(name === shownGroup));
    button.onclick = () => { shownGroup = name; redraw(); };
    const item = element("li");
    item.append(button);
    return item;
  }));
  const shown = entries.filter((entry) => !shownGroup || groupOf(entry) === shownGroup);
  get("rows").replaceChildren(...shown.map((entry) => row(entry, () => select(entry))));
}

function row(entry, show) {
  const made = element("tr");
  const image = element("img");
  image.src = entry.url;
  image.alt = "";
  const button = element("button", "link", entry.name);
  button.type = "button";
  button.onclick = show;
  const cells = [image, button, groupOf(entry), entry.answer ? percent(entry.answer.confidence) : "", entry.error ?? (entry.answer?.unknown ? `closest: ${entry.answer.class}` : "")];
  for (const cell of cells) {
    const column = element("td");
    column.append(cell);
    made.append(column);
  }
  return made;
}

/** A field of a CSV file; an apostrophe keeps a spreadsheet from running it as a formula. */
export function field(value) {
  const text = /^[=+\-@\t\r]/.test(String(value)) && typeof value !== "number" ? `'${value}` : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function download(entries) {
  const lines = [["file", "class", "probability", "unknown", "error"]];
  for (const entry of entries) {
    const answer = entry.answer;
    lines.push([entry.name, answer?.class ?? "", answer ? Number((answer.confidence / 100).toFixed(6)) : "", answer ? String(answer.unknown === true) : "", entry.error ?? ""]);
  }
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([`${lines.map((line) => line.map(field).join(",")).join("\n")}\n`], { type: "text/csv" }));
  link.download = "answers.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
