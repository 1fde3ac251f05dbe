// The page of catseye teach: hold to record, learn, answer live. All that is computed is computed by Python.
import { $, ask, complain, element, inTurn, percent, send, shareList } from "./common.js";

const SIDE_PX = 256; // of the frame that is sent: the network sees 224
const EVERY_MS = 100;
const turn = inTurn();
const canvas = element("canvas", { width: SIDE_PX, height: SIDE_PX });
let state;
let holding = null; // number of the class that is recorded
let recorded = Promise.resolve(); // the last frame that was sent for it
let learnings = 0;

const wait = (ms) => new Promise((then) => setTimeout(then, ms));

/** The middle square of a video or an image, as a JPEG. */
function frameOf(source, width, height) {
  const side = Math.min(width, height);
  canvas.getContext("2d").drawImage(source, (width - side) / 2, (height - side) / 2, side, side, 0, 0, SIDE_PX, SIDE_PX);
  return new Promise((then) => canvas.toBlob(then, "image/jpeg", 0.92)).then((blob) => blob.arrayBuffer());
}

const seen = () => $("video").readyState >= 2 && $("video").videoWidth > 0;
const look = () => frameOf($("video"), $("video").videoWidth, $("video").videoHeight);

function show() {
  $("backbone").textContent = `features: ${state.backbone}`;
  $("classes").replaceChildren(...state.classes.map(card));
  $("add").hidden = state.classes.length >= state.max_classes;
  $("keep").disabled = $("export").disabled = !state.learnt;
  const missing = state.classes.filter((one) => one.num_frames > 0 && one.num_frames < state.min_frames).map((one) => one.name);
  $("learnt").textContent = state.learnt
    ? `${state.classes.filter((one) => one.learnt).length} classes in ${state.learnt_s.toFixed(2)} s. Of the last frames of each recording, which it has not learnt from, ${state.num_right} of ${state.num_held} are right.`
    : "Nothing yet: it learns as soon as two classes are recorded.";
  if (missing.length) $("learnt").textContent += ` ${missing.join(", ")}: ${state.min_frames} frames are needed.`;
  if (!state.learnt) {
    $("answer").textContent = "Record two classes.";
    $("answer").classList.remove("unknown");
    $("answer-text").textContent = "";
    $("shares").replaceChildren();
  }
  document.documentElement.dataset.ready = "yes";
  document.documentElement.dataset.learnt = state.learnt ? learnings : "none";
}

function card(one, number) {
  const name = element("input", { type: "text", value: one.name, maxLength: 80, autocomplete: "off", spellcheck: false });
  name.setAttribute("aria-label", `Name of class ${number + 1}`);
  name.addEventListener("change", () => turn(async () => {
    try {
      state = await ask("rename", { number, name: name.value });
      learnings += 1;
    } finally {
      show();
    }
  }));
  const hold = element("button", { type: "button", className: "hold" }, "Hold to record ", element("kbd", { textContent: number + 1 }));
  hold.dataset.number = number;
  hold.addEventListener("pointerdown", (event) => { hold.setPointerCapture(event.pointerId); begin(number); });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) hold.addEventListener(end, stop);
  hold.addEventListener("keydown", (event) => { if (event.key === " " || event.key === "Enter") { event.preventDefault(); if (!event.repeat) begin(number); } });
  const files = element("input", { type: "file", accept: "image/*", multiple: true, className: "files", id: `files-${number}` });
  files.setAttribute("aria-label", `Images for ${one.name}`);
  files.addEventListener("change", () => turn(() => take(number, [...files.files])));
  const forget = element("button", { type: "button", textContent: "Forget", disabled: !one.num_frames });
  forget.setAttribute("aria-label", `Forget the frames of ${one.name}`);
  forget.addEventListener("click", () => turn(async () => { state = await ask("forget", { number }); learnings += 1; show(); }));
  const strip = element("ul", { className: "strip" }, ...one.thumbnails.map((digest) => element("li", {}, element("img", { src: `image/${digest}`, alt: `a frame of ${one.name}` }))));
  return element("li", {},
    element("label", {}, name, element("span", { className: "num quiet count", textContent: one.num_frames })),
    strip,
    element("div", { className: "row" }, hold, files, element("label", { className: "button", htmlFor: files.id, textContent: "Images …" }), forget));
}

async function record(number, frame) {
  const taken = await send(`record/${number}`, "image/jpeg", frame);
  const line = $("classes").children[number];
  line.querySelector(".count").textContent = taken.num_frames;
  return taken;
}

async function begin(number) {
  if (holding !== null || !state || number >= state.classes.length) return;
  if (!seen()) {
    $("message").textContent = "There is no camera to record from; take images from files instead.";
    $("message").hidden = false;
    return;
  }
  holding = number;
  $("classes").children[number].querySelector(".hold").dataset.on = "yes";
  document.querySelector(".lens").classList.add("recording");
  recorded = (async () => {
    do { // at least one frame, however short the press was
      const next = wait(EVERY_MS);
      await record(number, await look());
      await next;
    } while (holding === number);
  })().catch((error) => { holding = null; complain(error); });
}

function stop() {
  if (holding === null) return;
  holding = null;
  document.querySelector(".lens").classList.remove("recording");
  turn(async () => { await recorded; await learn(); });
}

async function learn() {
  state = await ask("learn");
  learnings += 1;
  show();
}

async function take(number, files) {
  for (const file of files) {
    const image = await createImageBitmap(file).catch(() => null);
    if (image) await record(number, await frameOf(image, image.width, image.height));
  }
  await learn();
}

function tell(found) {
  const name = found.unknown ? "None of these" : found.label;
  $("answer").textContent = `${name}${found.unknown ? "" : ` ${percent(found.confidence)}`}`;
  $("answer").classList.toggle("unknown", found.unknown);
  const alike = found.familiarity === null ? "" : `Likeness to what was recorded: ${found.familiarity.toFixed(2)}; below ${found.threshold.toFixed(2)} it is none of these. `;
  $("answer-text").textContent = `${alike}Answered in ${found.ms.toFixed(0)} ms.`;
  shareList($("shares"), found.shares);
  [...$("classes").children].forEach((line, number) => line.classList.toggle("told", !found.unknown && state.classes[number]?.name === found.label));
  document.documentElement.dataset.told = name;
}

/** One frame after the other, as fast as Python answers; while something is recorded, none. */
async function answerOn() {
  for (;;) {
    await wait(EVERY_MS);
    if (holding !== null || !state?.learnt || !seen() || document.hidden) continue;
    try {
      const found = await send("answer", "image/jpeg", await look());
      if (state.learnt && holding === null) tell(found);
    } catch (error) {
      if (state.learnt) { complain(error); await wait(2000); }
    }
  }
}

async function openCamera() {
  const say = (text) => { $("no-camera").textContent = text; $("no-camera").hidden = false; };
  if (!navigator.mediaDevices?.getUserMedia) return say("Browsers give the camera to pages at localhost and 127.0.0.1 only.");
  try {
    $("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 } } });
    await $("video").play();
  } catch (error) {
    say(`The camera cannot be used (${error.name}). Allow it for this page and load it again, or take images from files.`);
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || event.target.closest("input, button, a")) return;
  const number = "123456789".indexOf(event.key);
  if (event.key.length === 1 && number >= 0) { event.preventDefault(); begin(number); }
});
document.addEventListener("keyup", stop);
window.addEventListener("blur", stop);

$("add").addEventListener("click", () => turn(async () => {
  const taken = new Set(state.classes.map((one) => one.name));
  let number = state.classes.length + 1;
  while (taken.has(`class ${number}`)) number += 1;
  state = await ask("add", { name: `class ${number}` });
  show();
}));

for (const word of ["keep", "export"]) $(word).addEventListener("click", () => turn(async () => {
  $("kept").textContent = word === "keep" ? "writing …" : "exporting, and asking the file and the run about the same frames …";
  try {
    state = await ask(word);
  } catch (error) {
    $("kept").textContent = "";
    throw error;
  }
  show();
  $("kept").textContent = state.sentence;
}));

turn(async () => {
  state = await ask("state");
  learnings = state.learnt ? 1 : 0;
  show();
});
openCamera();
answerOn();
