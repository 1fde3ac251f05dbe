// The strip of this session's images. Nothing is stored beyond this tab.

const entries = [];
let current = -1;
let onSelect = () => {};

export function start(select) {
  onSelect = select;
  document.getElementById("clear").onclick = () => {
    entries.splice(0).forEach((entry) => URL.revokeObjectURL(entry.url));
    location.reload();
  };
}

export function add(file) {
  const entry = { file, name: file.name || "pasted image", url: URL.createObjectURL(file) };
  entries.push(entry);
  const button = document.createElement("button");
  button.type = "button";
  const image = document.createElement("img");
  image.alt = "";
  image.src = entry.url;
  const what = document.createElement("span");
  what.className = "what working";
  what.textContent = "…";
  button.append(image, what);
  button.onclick = () => select(entries.indexOf(entry));
  const item = document.createElement("li");
  item.append(button);
  document.getElementById("strip").append(item);
  document.getElementById("history").hidden = false;
  entry.button = button;
  entry.what = what;
  update(entry);
  return entry;
}

export function update(entry) {
  const unsure = entry.answer?.unknown === true;
  entry.what.className = `what${entry.error ? " failed" : unsure ? " unsure" : entry.answer ? "" : " working"}`;
  entry.what.textContent = entry.error ? "not read" : unsure ? "unknown" : (entry.answer?.class ?? "…");
  entry.button.setAttribute("aria-label", `${entry.name}: ${entry.what.textContent}`);
}

export function select(index) {
  if (index < 0 || index >= entries.length) return;
  current = index;
  entries.forEach((entry, number) => entry.button.setAttribute("aria-current", String(number === index)));
  entries[index].button.scrollIntoView({ block: "nearest", inline: "nearest" });
  onSelect(entries[index]);
}

export const step = (by) => select(current + by);
export const all = () => entries;
export const selected = () => entries[current];
export const indexOf = (entry) => entries.indexOf(entry);
