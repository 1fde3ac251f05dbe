// The page: images are dropped, pasted, chosen or taken with the camera; answers go to result.js and history.js.

import { curlCommand, modelCard, predict, Refused, token } from "./api.js";
import { startCamera } from "./camera.js";
import { showCard } from "./card.js";
import { showExamples } from "./examples.js";
import { dropped, whyRefused } from "./files.js";
import * as history from "./history.js";
import { showImage, showResult } from "./result.js";
import { startTable, updateTable } from "./table.js";

const AT_ONCE = 4;
const get = (id) => document.getElementById(id);
let card = null;
let running = 0;
const waiting = [];

function toast(text) {
  const line = get("toast");
  line.textContent = text;
  line.hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { line.hidden = true; }, 2500);
}

function show(entry) {
  showImage(entry);
  showResult(entry, card);
}

function take(files) {
  if (!files.length) return;
  const entries = [...files].map(history.add);
  waiting.push(...entries);
  updateTable();
  history.select(history.indexOf(entries[0]));
  next();
}

function next() {
  while (running < AT_ONCE && waiting.length) {
    running += 1;
    ask(waiting.shift()).finally(() => {
      running -= 1;
      next();
    });
  }
}

async function ask(entry) {
  const started = performance.now();
  const reason = await whyRefused(entry.file, card?.limits).catch(() => "this file cannot be read; is it still there?");
  if (reason) {
    entry.error = reason;
    finish(entry);
    return;
  }
  try {
    entry.answer = await predict(entry.file, card?.has_cam ?? false);
    entry.ms = performance.now() - started;
    delete entry.error;
  } catch (error) {
    entry.error = error instanceof Refused ? error.message : "something went wrong on this page";
    if (error.status === 401) {
      waiting.push(entry);
      await askForToken();
    }
  }
  finish(entry);
}

function finish(entry) {
  history.update(entry);
  updateTable();
  if (history.selected() === entry) show(entry);
}

let asking = null;
function askForToken() {
  asking ??= new Promise((resolve) => {
    const dialog = get("token-dialog");
    get("token-save").onclick = () => dialog.close();
    get("token").onkeydown = (event) => event.key === "Enter" && dialog.close();
    dialog.onclose = () => {
      token.set(get("token").value.trim());
      asking = null;
      resolve(loadCard());
    };
    dialog.showModal();
  });
  return asking;
}

async function loadCard() {
  try {
    card = await modelCard();
    showCard(card);
    showExamples(card.examples, take);
  } catch (error) {
    if (error.status === 401) return askForToken();
    get("model-line").textContent = error.message;
  }
}

function wire() {
  const drop = get("drop");
  history.start(show);
  startTable(history.all, (entry) => {
    history.select(history.indexOf(entry));
    get("drop").scrollIntoView({ block: "nearest" });
  });
  get("folder").onclick = () => get("folder-file").click();
  get("choose").onclick = () => get("file").click();
  drop.onclick = () => drop.classList.contains("full") || get("file").click();
  for (const id of ["file", "snap", "folder-file"]) {
    get(id).onchange = (event) => {
      take([...event.target.files].filter((file) => !file.name.startsWith(".")));
      event.target.value = "";
    };
  }
  // Anywhere on the page: the browser would open an image that is dropped beside the field.
  let depth = 0;
  addEventListener("dragenter", (event) => { event.preventDefault(); depth += 1; drop.classList.add("over"); });
  addEventListener("dragleave", () => { depth -= 1; if (depth <= 0) drop.classList.remove("over"); });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    drop.classList.remove("over");
    dropped(event.dataTransfer).then(take, () => toast("That folder cannot be read."));
  });
  addEventListener("paste", (event) => take(event.clipboardData.files));
  const openCamera = startCamera((photo) => take([photo]));
  get("camera").onclick = openCamera;
  const strength = get("heat-strength");
  const setStrength = () => { get("heat").style.opacity = strength.value / 100; };
  strength.oninput = setStrength;
  setStrength();
  get("curl").onclick = async () => {
    const command = curlCommand(history.selected()?.name);
    try {
      await navigator.clipboard.writeText(command);
      toast("Copied: " + command);
    } catch {
      toast(command);
    }
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "o") get("choose").click();
    else if (event.key === "c") openCamera();
    else if (event.key === "ArrowLeft") history.step(-1);
    else if (event.key === "ArrowRight") history.step(1);
  });
}

wire();
await loadCard();
document.documentElement.dataset.ready = "yes";
