// The page of catseye teach: hold to record, learn, answer live. Python does all the computing.
import { $, ask, complain, element, inTurn, percent, send, shareList } from "./common.js";

const SIDE_PX = 256; // of the frame that is sent: the network sees 224
const EVERY_MS = 100;
const turn = inTurn();
const canvas = element("canvas", { width: SIDE_PX, height: SIDE_PX });
let state;
let holding = null; // the class that is being recorded
let recorded = Promise.resolve(); // the last frame sent for it
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
  const tooFew = state.classes.filter(({ num_frames }) => num_frames > 0 && num_frames < state.min_frames).map(({ name }) => name);
  $("learnt").textContent = state.learnt
    ? `${state.classes.filter(({ learnt }) => learnt).length} classes in ${state.learnt_s.toFixed(2)} s. The last frames of each recording were held out; ${state.num_right} of ${state.num_held} are right.`
    : "Nothing so far: it learns as soon as two classes are recorded.";
  if (tooFew.length) $("learnt").textContent += ` ${tooFew.join(", ")}: ${state.min_frames} frames are needed.`;
  if (!state.learnt) {
    $("answer").textContent = "Record two classes.";
    $("answer").classList.remove("unknown");
    $("answer-text").textContent = "";
    $("shares").replaceChildren();
  }
  document.documentElement.dataset.ready = "yes";
  document.documentElement.dataset.learnt = state.learnt ? learnings : "none";
}

function card(shown, number) {
  const name = element("input", { type: "text", value: shown.name, maxLength: 80, autocomplete: "off", spellcheck: false });
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
  files.setAttribute("aria-label", `Images for ${shown.name}`);
  files.addEventListener("change", () => turn(() => take(number, [...files.files])));
  const forget = element("button", { type: "button", textContent: "Forget", disabled: !shown.num_frames });
  forget.setAttribute("aria-label", `Forget the frames of ${shown.name}`);
  forget.addEventListener("click", () => turn(async () => { state = await ask("forget", { number }); learnings += 1; show(); }));
  const strip = element("ul", { className: "strip" }, ...shown.thumbnails.map((digest) => element("li", {}, element("img", { src: `image/${digest}`, alt: `a frame of ${shown.name}` }))));
  return element("li", {},
    element("label", {}, name, element("span", { className: "num quiet count", textContent: shown.num_frames })),
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
    $("message").textContent = "There is no camera to record from; choose image files instead.";
    $("message").hidden = false;
    return;
  }
  holding = number;
  $("classes").children[number].querySelector(".hold").dataset.on = "yes";
  document.querySelector(".lens").classList.add("recording");
  recorded = (async () => {
    do { // at least one frame, however short the press
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

function showAnswer(answer) {
  const name = answer.unknown ? "None of these" : answer.label;
  $("answer").textContent = `${name}${answer.unknown ? "" : ` ${percent(answer.confidence)}`}`;
  $("answer").classList.toggle("unknown", answer.unknown);
  const familiarity = answer.familiarity === null ? "" : `Similarity to the recorded frames: ${answer.familiarity.toFixed(2)}; below ${answer.threshold.toFixed(2)} the answer is “None of these”. `;
  $("answer-text").textContent = `${familiarity}Answered in ${answer.ms.toFixed(0)} ms.`;
  shareList($("shares"), answer.shares);
  [...$("classes").children].forEach((line, number) => line.classList.toggle("told", !answer.unknown && state.classes[number]?.name === answer.label));
  document.documentElement.dataset.told = name;
}

/** Classify one frame after another, as fast as Python answers; none while recording. */
async function answerOn() {
  for (;;) {
    await wait(EVERY_MS);
    if (holding !== null || !state?.learnt || !seen() || document.hidden) continue;
    try {
      const answer = await send("answer", "image/jpeg", await look());
      if (state.learnt && holding === null) showAnswer(answer);
    } catch (error) {
      if (state.learnt) { complain(error); await wait(2000); }
    }
  }
}

async function openCamera() {
  const say = (text) => { $("no-camera").textContent = text; $("no-camera").hidden = false; };
  if (!navigator.mediaDevices?.getUserMedia) return say("Browsers allow the camera only for pages at localhost and 127.0.0.1.");
  try {
    $("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 } } });
    await $("video").play();
  } catch (error) {
    say(`The camera cannot be used (${error.name}). Allow it for this page and reload, or choose image files.`);
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
  const taken = new Set(state.classes.map(({ name }) => name));
  let number = state.classes.length + 1;
  while (taken.has(`class ${number}`)) number += 1;
  state = await ask("add", { name: `class ${number}` });
  show();
}));

for (const word of ["keep", "export"]) $(word).addEventListener("click", () => turn(async () => {
  $("kept").textContent = word === "keep" ? "writing …" : "exporting, and comparing the file with the run on the same frames …";
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
